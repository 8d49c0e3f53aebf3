// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limitMemory bounds writable private memory. The address space cannot be
// bounded: Go reserves far more of it than it uses.
func limitMemory(bytes uint64) error {
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes})
}

// System calls that Go's runtime needs to compute, and to talk over the pipes
// that are open. Whatever is not here is refused.
var allowed = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_CLOSE, unix.SYS_PREAD64,
	unix.SYS_FCNTL, unix.SYS_LSEEK,
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_BRK,
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_GETTIMEOFDAY,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETRUSAGE, unix.SYS_GETRANDOM,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_RESTART_SYSCALL,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// These say "not there", so that what looks for a file goes on without:
// time zones come from the table that is linked in.
var absent = []uint32{
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_READLINKAT, unix.SYS_STATX, unix.SYS_FACCESSAT,
}

// enterSandbox installs a seccomp filter on every thread. It cannot be undone.
// Then it tries: an error means that the worker must not serve.
func enterSandbox() error {
	const (
		nrOffset   = 0
		archOffset = 4
		// The lower half of the first argument.
		argOffset = 16
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
	jump := func(kind uint16, value uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, K: value, Jt: yes, Jf: no}
	}
	deny := func(errno unix.Errno) unix.SockFilter {
		return ret(unix.SECCOMP_RET_ERRNO | uint32(errno))
	}
	filter := []unix.SockFilter{
		load(archOffset),
		jump(unix.BPF_JEQ, arch, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(nrOffset),
		jump(unix.BPF_JGE, x32Bit, 0, 1),
		deny(unix.EPERM),
	}
	each := func(calls []uint32, verdict unix.SockFilter) {
		for _, call := range calls {
			filter = append(filter, jump(unix.BPF_JEQ, call, 0, 1), verdict)
		}
	}
	each(allowed, ret(unix.SECCOMP_RET_ALLOW))
	each(allowedHere, ret(unix.SECCOMP_RET_ALLOW))
	each(absent, deny(unix.ENOENT))
	each(absentHere, deny(unix.ENOENT))
	// The runtime falls back to clone, which takes threads only.
	each([]uint32{unix.SYS_CLONE3}, deny(unix.ENOSYS))
	filter = append(filter,
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
		load(argOffset),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1),
		ret(unix.SECCOMP_RET_ALLOW),
		deny(unix.EPERM),
		// Signals to its own threads: the scheduler preempts with them.
		jump(unix.BPF_JEQ, unix.SYS_TGKILL, 0, 4),
		load(argOffset),
		jump(unix.BPF_JEQ, uint32(os.Getpid()), 0, 1),
		ret(unix.SECCOMP_RET_ALLOW),
		deny(unix.EPERM),
		// Go names its memory with it; that is all.
		jump(unix.BPF_JEQ, unix.SYS_PRCTL, 0, 4),
		load(argOffset),
		jump(unix.BPF_JEQ, unix.PR_SET_VMA, 0, 1),
		ret(unix.SECCOMP_RET_ALLOW),
		deny(unix.EPERM),
		deny(unix.EPERM))

	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("the kernel does not take the system call filter: %w", errno)
	}
	return trySandbox()
}

// trySandbox checks that what must fail does fail.
func trySandbox() error {
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err == nil {
		unix.Close(fd)
		return errors.New("a socket can be made in the sandbox")
	}
	if file, err := os.Open("/dev/null"); err == nil {
		file.Close()
		return errors.New("a file can be opened in the sandbox")
	}
	return nil
}
