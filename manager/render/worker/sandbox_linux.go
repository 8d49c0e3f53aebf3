// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limitMemory bounds writable private memory. The address space cannot be
// bounded: Go reserves far more of it than it uses.
func limitMemory(bytes uint64) error {
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes})
}

// System calls that a chart has no business with. Opening a file says "not
// there", so that time zones come from the table that is linked in.
var refused = []struct {
	number uint32
	errno  uint32
}{
	{unix.SYS_SOCKET, uint32(unix.EPERM)},
	{unix.SYS_SOCKETPAIR, uint32(unix.EPERM)},
	{unix.SYS_CONNECT, uint32(unix.EPERM)},
	{unix.SYS_BIND, uint32(unix.EPERM)},
	{unix.SYS_EXECVE, uint32(unix.EPERM)},
	{unix.SYS_EXECVEAT, uint32(unix.EPERM)},
	{unix.SYS_PTRACE, uint32(unix.EPERM)},
	{unix.SYS_OPENAT, uint32(unix.ENOENT)},
	{unix.SYS_OPENAT2, uint32(unix.ENOENT)},
}

// enterSandbox installs a seccomp filter on every thread. It cannot be undone.
func enterSandbox() error {
	const (
		nrOffset   = 0
		archOffset = 4
		// The x32 calls of x86-64.
		x32Bit = 0x40000000
	)
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	ret := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	deny := func(errno uint32) unix.SockFilter {
		return ret(unix.SECCOMP_RET_ERRNO | errno)
	}
	filter := []unix.SockFilter{
		load(archOffset),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1},
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(nrOffset),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32Bit, Jf: 1},
		deny(uint32(unix.EPERM)),
	}
	for _, call := range append(refused, refusedHere...) {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call.number, Jf: 1},
			deny(call.errno))
	}
	filter = append(filter, ret(unix.SECCOMP_RET_ALLOW))

	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	return nil
}
