package redistest

import "syscall"

// endWithParent ends a server also where the test is killed.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
