// SPDX-License-Identifier: Apache-2.0

// The chart fetcher: a child process of the manager that downloads charts. It
// reads one request after another from its standard input and answers each on
// its standard output, in frames of a 4-byte big-endian length and one message
// of flotilla.render.v1 (fetch.proto). It ends when its input does.
//
// It has the network, and no secret but those of the request that it works on.
// It writes no file and starts no program. Everything that a server sends is
// hostile: see client.go and unpack.go for the limits.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"flotilla.dev/manager/charts/fetcher/fetchv1"
)

func main() {
	maxMemory := flag.Uint64("max-memory-mib", 768, "memory above which the fetcher dies")
	flag.Parse()

	runtime.GOMAXPROCS(2)
	debug.SetMemoryLimit(int64(*maxMemory) << 20 / 10 * 8)
	// A crash says why in one line, and shows no memory.
	debug.SetTraceback("none")
	limit := *maxMemory << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		fmt.Fprintf(os.Stderr, "chart fetcher: cannot limit memory: %v\n", err)
	}
	if err := serve(os.Stdin, os.Stdout, newFetcher()); err != nil {
		fmt.Fprintf(os.Stderr, "chart fetcher: %v\n", err)
		os.Exit(1)
	}
}

// serve answers requests until the input ends. An error means that the streams
// are broken; whatever a request does wrong is answered.
func serve(in io.Reader, out io.Writer, f *fetcher) error {
	reader := bufio.NewReader(in)
	for {
		frame, err := readFrame(reader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := answer(frame, out, f); err != nil {
			return err
		}
		debug.FreeOSMemory()
	}
}

// answer does one request; its error is one of the output.
func answer(frame []byte, out io.Writer, f *fetcher) error {
	request := &fetchv1.FetchRequest{}
	if err := proto.Unmarshal(frame, request); err != nil {
		return errors.New("a frame is not a FetchRequest")
	}
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if request.TimeoutMilliseconds > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(request.TimeoutMilliseconds)*time.Millisecond)
	}
	defer cancel()

	sink := &frameSink{id: request.Id, out: out}
	last := &fetchv1.FetchResponse{Id: request.Id, Last: true}
	result, err := f.fetchSafely(ctx, request, sink)
	if err == nil {
		err = sink.flush()
	}
	if sink.broken != nil {
		return sink.broken
	}
	if err != nil {
		last.Error = toWire(ctx, request.Credentials, err)
	} else {
		last.Version = result.version
		last.Immutable = result.immutable
	}
	encoded, err := proto.Marshal(last)
	if err != nil {
		return fmt.Errorf("an answer cannot be encoded: %w", err)
	}
	return writeFrame(out, encoded)
}

// Files are sent when so many bytes of them are together.
const frameBytes = 4 << 20

// frameSink sends files on in frames.
type frameSink struct {
	id    uint64
	out   io.Writer
	files []*fetchv1.FetchedFile
	bytes int
	// The output does not take more.
	broken error
}

func (s *frameSink) add(name string, content []byte) error {
	s.files = append(s.files, &fetchv1.FetchedFile{Name: name, Content: content})
	s.bytes += len(name) + len(content) + 16
	if s.bytes < frameBytes {
		return nil
	}
	return s.flush()
}

func (s *frameSink) flush() error {
	if len(s.files) == 0 {
		return nil
	}
	encoded, err := proto.Marshal(&fetchv1.FetchResponse{Id: s.id, Files: s.files})
	s.files, s.bytes = nil, 0
	if err != nil {
		return failure(invalidArgument, "a file's name is not UTF-8")
	}
	if err := writeFrame(s.out, encoded); err != nil {
		s.broken = err
		return err
	}
	return nil
}
