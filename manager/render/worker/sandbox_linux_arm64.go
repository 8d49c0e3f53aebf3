// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// Calls that have another name here.
var (
	allowedHere []uint32
	absentHere  = []uint32{unix.SYS_FSTATAT}
)
