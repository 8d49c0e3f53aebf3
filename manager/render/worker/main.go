// SPDX-License-Identifier: Apache-2.0

// The render worker: a child process of the manager that renders charts with
// Helm's own engine. It reads one request after another from its standard input
// and answers each on its standard output, in frames of a 4-byte big-endian
// length and one message of flotilla.render.v1. It ends when its input does.
//
// It has no network, opens no files and starts no programs: see sandbox.go.
// Above its memory limit the kernel ends it; the manager starts another one.
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
	"time"

	"google.golang.org/protobuf/proto"

	"flotilla.dev/manager/render/worker/renderv1"
)

func main() {
	maxMemory := flag.Uint64("max-memory-mib", 512, "memory above which the worker dies")
	maxAnswer := flag.Uint("max-answer-mib", 64, "size of an answer above which it is an error")
	sandboxed := flag.Bool("sandbox", true, "refuse network, files and programs")
	flag.Parse()

	// Dates are in UTC whatever the machine's zone is.
	time.Local = time.UTC
	runtime.GOMAXPROCS(2)
	debug.SetMemoryLimit(int64(*maxMemory) << 20 / 10 * 8)
	debug.SetMaxStack(128 << 20)
	// A crash says why in one line.
	debug.SetTraceback("none")
	if err := limitMemory(*maxMemory << 20); err != nil {
		fmt.Fprintf(os.Stderr, "render worker: cannot limit memory: %v\n", err)
	}
	if *sandboxed {
		if err := enterSandbox(); err != nil {
			fmt.Fprintf(os.Stderr, "render worker: no system call filter: %v\n", err)
		}
	}
	if err := serve(os.Stdin, os.Stdout, int(*maxAnswer)<<20); err != nil {
		fmt.Fprintf(os.Stderr, "render worker: %v\n", err)
		os.Exit(1)
	}
}

// serve answers requests until the input ends. An error means that the streams
// are broken; whatever a request does wrong is answered.
func serve(in io.Reader, out io.Writer, maxAnswer int) error {
	reader := bufio.NewReader(in)
	for {
		frame, err := readFrame(reader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := writeFrame(out, answer(frame, maxAnswer)); err != nil {
			return err
		}
		if len(frame) > 1<<20 {
			debug.FreeOSMemory()
		}
	}
}

// answer renders one request; a panic becomes an error of this request.
func answer(frame []byte, maxAnswer int) (encoded []byte) {
	request := &renderv1.RenderRequest{}
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
