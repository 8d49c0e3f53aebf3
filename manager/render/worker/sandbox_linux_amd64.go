// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// Calls that only x86-64 has.
var refusedHere = []struct {
	number uint32
	errno  uint32
}{
	{unix.SYS_OPEN, uint32(unix.ENOENT)},
}
