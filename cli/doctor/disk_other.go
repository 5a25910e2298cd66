//go:build !linux

package doctor

import "errors"

func diskOf(string) (disk, error) {
	return disk{}, errors.New("this system's way of telling is not known")
}
