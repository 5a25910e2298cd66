package eventflux

import (
	"fmt"
	"io/fs"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Embed returns the text of an app with the files that its @map annotations name, such as
// descriptor='order.desc' or schema='order.avsc': Deploy needs them in the text. Files that the
// text contains already are not read.
func Embed(text string, files fs.FS) (string, error) {
	out, err := siddhiql.Embed(text, func(name string) ([]byte, error) { return fs.ReadFile(files, name) })
	if err != nil {
		return "", fmt.Errorf("embed: %w", err)
	}
	return out, nil
}
