// SPDX-License-Identifier: Apache-2.0

package main

// arm64 has no further calls.
var refusedHere []struct {
	number uint32
	errno  uint32
}
