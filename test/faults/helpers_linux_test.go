package faults

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// The test binary can also run as a NATS server, or as a process that mounts a small disk. So tests
// can kill these, and nothing has to be installed.
const (
	natsVar = "FAULTS_NATS" // file with the server's configuration
	diskVar = "FAULTS_DISK" // folder to mount the disk on
)

// otherwise runs the test binary as one of these, if the environment says so.
func otherwise() (code int, done bool) {
	var err error
	switch config, dir := os.Getenv(natsVar), os.Getenv(diskVar); {
	case config != "":
		err = serveNATS(config)
	case dir != "":
		err = holdDisk(dir)
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func serveNATS(config string) error {
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
}

// diskBytes is enough for everything that a process stores.
const diskBytes = 768 << 20

// holdDisk mounts a disk in a namespace of its own until standard input ends. Others reach it under
// /proc/<pid>/root.
func holdDisk(dir string) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	fmt.Println("mounted")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// disk is a small disk that a test can fill.
type disk struct {
	dir string
	own bool // false: an ordinary folder, which cannot be filled
}

// newDisk mounts a disk, or returns a folder if the system does not allow mounts.
func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), diskVar+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Logf("no disk of its own: %v", err)
		return &disk{dir: dir}
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line != "mounted\n" {
		t.Logf("no disk of its own: %s", said.String())
		return &disk{dir: dir}
	}
	return &disk{dir: filepath.Join("/proc", fmt.Sprint(cmd.Process.Pid), "root", dir), own: true}
}

// fill uses up the disk to the last byte.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(d.filler())
	must(t, err)
	defer f.Close()
	for n, at := int64(diskBytes), int64(0); n >= 4096; {
		switch err := syscall.Fallocate(int(f.Fd()), 0, at, n); {
		case err == nil:
			at += n
		case errors.Is(err, syscall.EINTR):
		default:
			n /= 2
		}
	}
}

// free deletes the file that filled the disk.
func (d *disk) free(t *testing.T) {
	t.Helper()
	must(t, os.Remove(d.filler()))
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }
