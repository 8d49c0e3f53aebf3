// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// What the archives of one request may unpack to, all together. Variables so
// that tests need not make so much.
var (
	maxUnpackedBytes int64 = 200 << 20
	maxFileBytes     int64 = 50 << 20
	maxFiles               = 100000
	maxNameBytes           = 1024
	// Above freeBytes an archive may be so many times smaller than its content.
	maxRatio  int64 = 100
	freeBytes int64 = 16 << 20
)

type archiveKind int

const (
	kindTarGz archiveKind = iota
	kindTar
	kindTarBz2
	kindZip
)

// packed is an archive in memory and where in it the chart is.
type packed struct {
	body []byte
	kind archiveKind
	// Folder of the chart; "" until it is looked for. May be a pattern of
	// path.Match.
	subdir string
}

func newPacked(body []byte) (*packed, error) {
	kind, ok := sniff(body)
	if !ok {
		return nil, failure(invalidArgument, "what came is no archive: %s", firstBytes(body))
	}
	return &packed{body: body, kind: kind}, nil
}

// sniff tells the kind of an archive by its first bytes.
func sniff(body []byte) (archiveKind, bool) {
	switch {
	case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
		return kindTarGz, true
	case bytes.HasPrefix(body, []byte("BZh")):
		return kindTarBz2, true
	case bytes.HasPrefix(body, []byte("PK\x03\x04")):
		return kindZip, true
	case len(body) > 262 && string(body[257:262]) == "ustar":
		return kindTar, true
	}
	return 0, false
}

func firstBytes(body []byte) string {
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		return "it is empty"
	case trimmed[0] == '<':
		return "it looks like a web page"
	case bytes.HasPrefix(body, []byte{0xfd, '7', 'z', 'X', 'Z'}):
		return "archives packed with xz are not supported; use .tgz"
	case bytes.HasPrefix(body, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "archives packed with zstd are not supported; use .tgz"
	}
	return "neither .tgz, .tar, .tar.bz2 nor .zip"
}

// budget is what is left for the archives of one request.
type budget struct {
	bytes int64
	files int
}

func newBudget() *budget { return &budget{bytes: maxUnpackedBytes, files: maxFiles} }

func (b *budget) takeFile() error {
	if b.files--; b.files < 0 {
		return failure(resourceExhausted, "the archive has more than %d files", maxFiles)
	}
	return nil
}

func (b *budget) takeBytes(n int) error {
	if b.bytes -= int64(n); b.bytes < 0 {
		return failure(resourceExhausted, "the archive unpacks to more than %d MiB", maxUnpackedBytes>>20)
	}
	return nil
}

// entry is a file of an archive, its name cleaned.
type entry struct {
	name string
	// What it is when it is no file.
	refused string
	size    int64
	in      io.Reader
}

// unpack hands the chart's files to `out`, their names relative to the chart's
// root and `prefix` before them. The archive is read twice: once to see that
// all of it may be unpacked and where the chart is, once for the files.
func (b *budget) unpack(p *packed, prefix string, out sink) error {
	names, err := b.survey(p)
	if err != nil {
		return within("the chart's archive", err)
	}
	root, err := chartRoot(p, names)
	if err != nil {
		return err
	}
	if chartFile := path.Join(root, "Chart.yaml"); names[chartFile] == 0 {
		return failure(invalidArgument, "the chart's archive has no Chart.yaml in %q", root)
	}
	number := 0
	err = p.walk(nil, func(e entry) error {
		number++
		inside, ok := below(root, e.name)
		if !ok {
			return nil
		}
		if e.refused != "" {
			return failure(invalidArgument, "%q is %s: charts may hold files only", e.name, e.refused)
		}
		// Of files with the same name the last one counts, as for tar.
		if names[e.name] != number {
			return nil
		}
		content, err := io.ReadAll(e.in)
		if err != nil {
			return err
		}
		if inside == "Chart.yaml" {
			if err := checkChartYAML(content); err != nil {
				return err
			}
		}
		return out.add(prefix+inside, content)
	})
	if err != nil {
		return within("the chart's archive", err)
	}
	return nil
}

// survey reads all of the archive within the budget. It gives the names of its
// files and the place of each among them.
func (b *budget) survey(p *packed) (map[string]int, error) {
	names := map[string]int{}
	number := 0
	discard := make([]byte, 64<<10)
	err := p.walk(b, func(e entry) error {
		number++
		names[e.name] = number
		if e.refused != "" {
			return nil
		}
		var size int64
		for {
			n, err := e.in.Read(discard)
			if size += int64(n); size > maxFileBytes {
				return failure(resourceExhausted, "%q has more than %d MiB", e.name, maxFileBytes>>20)
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	return names, err
}

func below(root, name string) (string, bool) {
	if root == "" {
		return name, true
	}
	inside, ok := strings.CutPrefix(name, root+"/")
	return inside, ok && inside != ""
}

// chartRoot finds the folder that has the chart.
func chartRoot(p *packed, names map[string]int) (string, error) {
	if p.subdir != "" {
		return p.matchSubdir(names)
	}
	if names["Chart.yaml"] != 0 {
		return "", nil
	}
	root := ""
	for name := range names {
		folder, file, _ := strings.Cut(name, "/")
		if file != "Chart.yaml" {
			continue
		}
		if root != "" {
			return "", failure(invalidArgument, "the archive has several charts (%q, %q): name one with //folder in the URL", min(root, folder), max(root, folder))
		}
		root = folder
	}
	if root == "" {
		return "", failure(invalidArgument, "the archive has no Chart.yaml, neither at its root nor one folder below")
	}
	return root, nil
}

func (p *packed) matchSubdir(names map[string]int) (string, error) {
	found := ""
	parts := strings.Count(p.subdir, "/") + 1
	for name := range names {
		folders := strings.Split(name, "/")
		if len(folders) <= parts {
			continue
		}
		folder := strings.Join(folders[:parts], "/")
		if ok, err := path.Match(p.subdir, folder); err != nil {
			return "", failure(invalidArgument, "//%s is not a pattern", p.subdir)
		} else if !ok || folder == found {
			continue
		}
		if found != "" {
			return "", failure(invalidArgument, "//%s fits several folders of the archive (%q, %q)", p.subdir, min(found, folder), max(found, folder))
		}
		found = folder
	}
	if found == "" {
		return "", failure(notFound, "the archive has no folder %q", p.subdir)
	}
	return found, nil
}

// walk visits the files of the archive, whatever kind it is. With a budget it
// is charged; without, the archive was surveyed before.
func (p *packed) walk(b *budget, visit func(entry) error) error {
	if p.kind == kindZip {
		return p.walkZip(b, visit)
	}
	count := &countingReader{in: bytes.NewReader(p.body)}
	var unpacked io.Reader
	switch p.kind {
	case kindTarGz:
		zipped, err := gzip.NewReader(count)
		if err != nil {
			return failure(invalidArgument, "it is damaged: %v", err)
		}
		unpacked = zipped
	case kindTarBz2:
		unpacked = bzip2.NewReader(count)
	default:
		unpacked = count
	}
	if b != nil {
		unpacked = &budgetReader{in: unpacked, packed: count, budget: b}
	}
	for tr := tar.NewReader(unpacked); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
		if b != nil {
			if err := b.takeFile(); err != nil {
				return err
			}
		}
		refused := ""
		switch header.Typeflag {
		case tar.TypeReg, tar.TypeRegA: //nolint:staticcheck // old archives have it
		case tar.TypeDir, tar.TypeXGlobalHeader:
			if _, err := cleanName(header.Name); err != nil && header.Typeflag == tar.TypeDir && strings.Trim(header.Name, "./") != "" {
				return err
			}
			continue
		case tar.TypeSymlink:
			refused = "a symbolic link"
		case tar.TypeLink:
			refused = "a hard link"
		case tar.TypeChar, tar.TypeBlock:
			refused = "a device"
		case tar.TypeFifo:
			refused = "a pipe"
		default:
			refused = fmt.Sprintf("an entry of type %q", header.Typeflag)
		}
		name, err := cleanName(header.Name)
		if err != nil {
			return err
		}
		if err := visit(entry{name: name, refused: refused, size: header.Size, in: tr}); err != nil {
			return damaged(err)
		}
	}
}

func (p *packed) walkZip(b *budget, visit func(entry) error) error {
	archive, err := zip.NewReader(bytes.NewReader(p.body), int64(len(p.body)))
	if err != nil {
		return failure(invalidArgument, "it is damaged: %v", err)
	}
	if b != nil {
		if b.files -= len(archive.File); b.files < 0 {
			return failure(resourceExhausted, "the archive has more than %d files", maxFiles)
		}
	}
	for _, f := range archive.File {
		mode := f.Mode()
		if mode.IsDir() || strings.HasSuffix(f.Name, "/") {
			continue
		}
		name, err := cleanName(f.Name)
		if err != nil {
			return err
		}
		refused := ""
		if mode&fs.ModeSymlink != 0 {
			refused = "a symbolic link"
		} else if !mode.IsRegular() {
			refused = "no plain file"
		}
		if err := p.visitZip(b, f, entry{name: name, refused: refused}, visit); err != nil {
			return damaged(err)
		}
	}
	return nil
}

func (p *packed) visitZip(b *budget, f *zip.File, e entry, visit func(entry) error) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	e.in = in
	if b != nil {
		// The whole archive may be about one file.
		e.in = &budgetReader{in: in, size: int64(len(p.body)), budget: b}
	}
	return visit(e)
}

func damaged(err error) error {
	var p *problem
	if errors.As(err, &p) {
		return err
	}
	return failure(invalidArgument, "it is damaged: %v", err)
}

type countingReader struct {
	in io.Reader
	n  int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.n += int64(n)
	return n, err
}

// budgetReader stops the unpacking as soon as it is too much, or too much for
// what was packed.
type budgetReader struct {
	in     io.Reader
	packed *countingReader
	size   int64
	budget *budget
	read   int64
}

func (r *budgetReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if limit := r.budget.takeBytes(n); limit != nil {
		return 0, limit
	}
	r.read += int64(n)
	size := r.size
	if r.packed != nil {
		size = r.packed.n
	}
	if r.read > freeBytes && r.read > maxRatio*size {
		return 0, failure(resourceExhausted, "the archive unpacks to more than %d times its size", maxRatio)
	}
	return n, err
}

// cleanName gives a file's name in the archive without "./", or an error for
// names that lead out of it.
func cleanName(name string) (string, error) {
	if len(name) > maxNameBytes {
		return "", failure(invalidArgument, "a file's name has more than %d bytes", maxNameBytes)
	}
	if !utf8.ValidString(name) || hasControl(name) {
		return "", failure(invalidArgument, "a file's name holds what is no text: %q", name)
	}
	// Packed on Windows.
	if strings.Contains(name, "\\") {
		if strings.Contains(name, "/") {
			return "", failure(invalidArgument, "%q mixes / and \\", name)
		}
		name = strings.ReplaceAll(name, "\\", "/")
	}
	if strings.HasPrefix(name, "/") || (len(name) > 1 && name[1] == ':') {
		return "", failure(invalidArgument, "%q is an absolute name: it would lie outside of the chart", name)
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", failure(invalidArgument, "%q leads out of the archive", name)
		}
	}
	clean := path.Clean(name)
	if clean == "." || clean == "" {
		return "", failure(invalidArgument, "%q is not the name of a file", name)
	}
	return clean, nil
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, unicode.IsControl)
}

// checkChartYAML refuses a chart whose name is a place.
func checkChartYAML(content []byte) error {
	if len(content) > 1<<20 {
		return failure(resourceExhausted, "Chart.yaml has more than 1 MiB")
	}
	var chart struct {
		Name string `yaml:"name"`
	}
	if err := yaml.Unmarshal(bytes.TrimPrefix(content, []byte("\xEF\xBB\xBF")), &chart); err != nil {
		return failure(invalidArgument, "Chart.yaml is not the YAML of a chart")
	}
	if err := checkChartName(chart.Name); err != nil {
		return within("Chart.yaml", err)
	}
	return nil
}

func quoted(text string) string { return fmt.Sprintf("%q", text) }
