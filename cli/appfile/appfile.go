// Package appfile reads the file of an app, with the files that it names. Package siddhiql
// checks the text.
package appfile

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// namedBytesMax is the limit of a file that an app names: the app's text has the same.
const namedBytesMax = 1 << 20

// Read returns the text of an app. Files that its @map annotations name become part of it:
// their names are relative to the app's folder. Its error may be a siddhiql.ErrorList.
func Read(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(file)
	return siddhiql.Embed(string(data), func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, err
		case info.Size() > namedBytesMax:
			return nil, fmt.Errorf("it has %d bytes: expected at most %d", info.Size(), namedBytesMax)
		}
		return os.ReadFile(name)
	})
}
