//go:build faultpoints

package build

import (
	"cmp"
	"os"
)

// A program under test says that it is the release in this variable, so that tests need not link
// one for each release.
func init() { release = cmp.Or(os.Getenv("FAULTPOINTS_RELEASE"), release) }
