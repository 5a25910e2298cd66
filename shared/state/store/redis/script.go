package redis

import (
	_ "embed" // the scripts
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/object.lua
	objectSource string
	//go:embed lua/put.lua
	putSource string
	//go:embed lua/touch.lua
	touchSource string
	//go:embed lua/keep.lua
	keepSource string
	//go:embed lua/delete.lua
	deleteSource string
	//go:embed lua/commit.lua
	commitSource string
)

// A script is sent once to each node, and called by its hash.
var (
	putScript    = goredis.NewScript(onObject(putSource))
	touchScript  = goredis.NewScript(onObject(touchSource))
	keepScript   = goredis.NewScript(onObject(keepSource))
	deleteScript = goredis.NewScript(onObject(deleteSource))
	commitScript = goredis.NewScript(onObject(commitSource))
)

func onObject(source string) string { return strings.Join([]string{objectSource, source}, "\n") }
