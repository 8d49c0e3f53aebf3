// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Largest request: a bundle's files and values.
const maxFrame = 128 << 20

// readFrame returns io.EOF only between frames.
func readFrame(in io.Reader) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("reading a frame's length: %w", err)
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes is over the limit of %d", size, maxFrame)
	}
	// Memory grows with what really comes.
	var body bytes.Buffer
	if n, err := io.CopyN(&body, in, int64(size)); err != nil {
		return nil, fmt.Errorf("a frame ended after %d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
	}
	return body.Bytes(), nil
}

func writeFrame(out io.Writer, body []byte) error {
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	if _, err := out.Write(append(frame, body...)); err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	return nil
}
