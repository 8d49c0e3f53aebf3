// SPDX-License-Identifier: Apache-2.0

// The render worker: a child process of the manager that renders charts with
// Helm's own engine, runs Kustomize and fills values in. It reads one request
// after another from its standard input and answers each on its standard
// output, in frames of a 4-byte big-endian length and one message of
// flotilla.render.v1. It ends when its input does.
//
// It has no network, opens no files and starts no programs: see
// sandbox_linux.go; where that cannot be had, it does not serve. Above its
// memory limit the kernel ends it, above its limit of CPU time it answers so
// and ends itself; the manager starts another one.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"flotilla.dev/manager/render/worker/renderv1"
)

// How the process ends; the manager knows the second and the third. Go's own
// fatal errors, such as no memory, end with 2.
const (
	exitBroken    = 1
	exitNoSandbox = 3
	exitTime      = 4
)

func main() {
	maxMemory := flag.Uint64("max-memory-mib", 512, "memory above which the worker dies")
	maxAnswer := flag.Uint("max-answer-mib", 64, "size of an answer above which it is an error")
	maxCPU := flag.Duration("max-cpu", 20*time.Second, "CPU time of a request above which it is an error")
	check := flag.Bool("check", false, "only see whether the worker can work here")
	flag.Parse()

	// Dates are in UTC whatever the machine's zone is.
	time.Local = time.UTC
	runtime.GOMAXPROCS(2)
	// Most memory is free again after each request: collect seldom.
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(int64(*maxMemory) << 20 / 10 * 8)
	debug.SetMaxStack(128 << 20)
	// A crash says why in one line.
	debug.SetTraceback("none")
	if err := limitMemory(*maxMemory << 20); err != nil {
		fmt.Fprintf(os.Stderr, "render worker: cannot limit memory: %v\n", err)
		os.Exit(exitNoSandbox)
	}
	if err := enterSandbox(); err != nil {
		fmt.Fprintf(os.Stderr, "render worker: cannot shut itself off from network and files: %v\n", err)
		os.Exit(exitNoSandbox)
	}
	if *check {
		fmt.Println("the render worker can work here")
		return
	}
	server := &server{
		out: os.Stdout, maxAnswer: int(*maxAnswer) << 20,
		maxCPU: *maxCPU, end: func() { os.Exit(exitTime) },
	}
	if err := server.serve(os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "render worker: %v\n", err)
		os.Exit(exitBroken)
	}
}

// server answers requests, one after another.
type server struct {
	out       io.Writer
	maxAnswer int
	// 0: no limit.
	maxCPU time.Duration
	// Ends the process after a request that took too long.
	end func()

	mu sync.Mutex
	// CPU time at which the request in work began; -1: there is none.
	started   time.Duration
	requestID atomic.Uint64
}

// serve answers until the input ends. An error means that the streams are
// broken; whatever a request does wrong is answered.
func (s *server) serve(in io.Reader) error {
	s.started = -1
	if s.maxCPU > 0 {
		done := make(chan struct{})
		defer close(done)
		go s.watch(done)
	}
	reader := bufio.NewReader(in)
	for {
		frame, err := readFrame(reader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.started = cpuTime()
		s.mu.Unlock()
		encoded := answer(frame, s.maxAnswer, &s.requestID)
		s.mu.Lock()
		s.started = -1
		err = writeFrame(s.out, encoded)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if len(frame) > 1<<20 {
			debug.FreeOSMemory()
		}
	}
}

// watch ends the process when a request takes too much CPU time: nothing else
// stops a template that loops.
func (s *server) watch(done <-chan struct{}) {
	ticker := time.NewTicker(min(s.maxCPU/10, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		if s.started >= 0 && cpuTime()-s.started > s.maxCPU {
			doing, _ := stage.Load().(string)
			_ = writeFrame(s.out, encodeError(s.requestID.Load(), fmt.Sprintf(
				"%s took more than %v of CPU time: look for a template that loops", doing, s.maxCPU)))
			// With the lock: nothing else is written.
			s.end()
			return
		}
		s.mu.Unlock()
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// answer renders one request; a panic becomes an error of this request.
func answer(frame []byte, maxAnswer int, id *atomic.Uint64) (encoded []byte) {
	request := &renderv1.RenderRequest{}
	id.Store(0)
	stage.Store("reading the request")
	defer func() {
		if p := recover(); p != nil {
			// The panic's text may hold a value: its type must do.
			encoded = encodeError(request.GetId(), fmt.Sprintf(
				"the renderer failed on this chart (%T)", p))
		}
	}()
	if err := proto.Unmarshal(frame, request); err != nil {
		return encodeError(0, "the request is not a RenderRequest")
	}
	id.Store(request.Id)
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(render(request))
	if err != nil {
		return encodeError(request.GetId(), "the result cannot be encoded: a string is not UTF-8")
	}
	if len(encoded) > maxAnswer {
		return encodeError(request.GetId(), fmt.Sprintf(
			"the chart renders to %d MiB, more than the limit of %d MiB",
			len(encoded)>>20, maxAnswer>>20))
	}
	return encoded
}

func encodeError(id uint64, message string) []byte {
	encoded, _ := proto.Marshal(&renderv1.RenderResponse{
		Id:    id,
		Error: &renderv1.RenderError{Message: message},
	})
	return encoded
}
