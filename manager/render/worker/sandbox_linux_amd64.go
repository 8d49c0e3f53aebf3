// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// Calls that only x86-64 has.
var (
	allowedHere = []uint32{unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL}
	absentHere  = []uint32{unix.SYS_OPEN, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_READLINK, unix.SYS_ACCESS}
)
