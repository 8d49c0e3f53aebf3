// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// indexEntry is a version of a chart in index.yaml: what of it is read.
type indexEntry struct {
	Version string   `yaml:"version"`
	URLs    []string `yaml:"urls"`
	Digest  string   `yaml:"digest"`
}

// findInRepository looks a chart up in a classic Helm repository.
func (d *download) findInRepository(repo, chart, version string) (*packed, outcome, error) {
	base, user, err := parseURL(repo)
	if err != nil {
		return nil, outcome{}, within("helm.repo", err)
	}
	if err := checkChartName(chart); err != nil {
		if chart == "" {
			err = failure(invalidArgument, "helm.chart must name a chart of the repository %s", shown(base))
		}
		return nil, outcome{}, err
	}
	if err := d.client.trust(base, user); err != nil {
		return nil, outcome{}, err
	}
	entries, err := d.entries(base, chart)
	if err != nil {
		return nil, outcome{}, err
	}
	versions := make([]string, len(entries))
	for i, entry := range entries {
		versions[i] = entry.Version
	}
	picked, err := pickVersion(versions, version)
	if err != nil {
		return nil, outcome{}, err
	}
	if picked < 0 {
		return nil, outcome{}, noVersion("chart "+quoted(chart)+" of "+shown(base), version, versions)
	}
	entry := entries[picked]
	archive, err := d.fromIndex(base, chart, entry)
	if err != nil {
		return nil, outcome{}, err
	}
	return archive, outcome{version: entry.Version, immutable: isExact(version) && version == entry.Version}, nil
}

// fromIndex downloads what an entry names: the first of its URLs that works.
func (d *download) fromIndex(base *url.URL, chart string, entry indexEntry) (*packed, error) {
	name := "chart " + quoted(chart) + " " + quoted(entry.Version)
	if len(entry.URLs) == 0 {
		return nil, failure(notFound, "the index of %s has no URL for %s", shown(base), name)
	}
	const tries = 3
	var first error
	for i, raw := range entry.URLs {
		if i == tries {
			break
		}
		archive, err := d.fromIndexURL(base, chart, entry, raw)
		if err == nil {
			return archive, nil
		}
		if first == nil {
			first = within(name, err)
		}
		if !isCode(err, notFound) && !isCode(err, unavailable) {
			break
		}
	}
	return nil, first
}

func (d *download) fromIndexURL(base *url.URL, chart string, entry indexEntry, raw string) (*packed, error) {
	if isOCI(raw) {
		archive, _, err := d.findInRegistry(raw, "", "")
		return archive, err
	}
	target, err := resolve(base, raw)
	if err != nil {
		return nil, err
	}
	body, err := d.archiveBytes(target)
	if err != nil {
		return nil, err
	}
	if digest := strings.TrimPrefix(strings.ToLower(entry.Digest), "sha256:"); digest != "" {
		sum := sha256.Sum256(body)
		if hex.EncodeToString(sum[:]) != digest {
			return nil, failure(unavailable, "%s is not what the index says (its SHA-256 is %x): the repository is damaged, or being changed right now", shown(target), sum)
		}
	}
	return newPacked(body)
}

// resolve gives the URL of an archive: relative ones lie beside index.yaml and
// take the repository's query along.
func resolve(base *url.URL, raw string) (*url.URL, error) {
	folder := *base
	if !strings.HasSuffix(folder.Path, "/") {
		folder.Path += "/"
		if folder.RawPath != "" {
			folder.RawPath += "/"
		}
	}
	reference, err := url.Parse(raw)
	if err != nil {
		return nil, failure(invalidArgument, "the index has a URL that is none: %s", shownText(raw))
	}
	relative := !reference.IsAbs() && reference.Host == ""
	target, _, err := parseURL(folder.ResolveReference(reference).String())
	if err != nil {
		return nil, within("the index", err)
	}
	if relative && target.RawQuery == "" {
		target.RawQuery = base.RawQuery
	}
	return target, nil
}

func (d *download) archiveBytes(u *url.URL) ([]byte, error) {
	reply, err := d.client.get(d.ctx, exchange{
		url: u,
		// Not packed once more: the limit is of what is sent.
		header: http.Header{"Accept-Encoding": {"identity"}},
		limit:  maxArchiveBytes,
		what:   "the archive",
	})
	if err != nil {
		return nil, err
	}
	if reply.status != http.StatusOK {
		return nil, reply.problem()
	}
	return reply.body, nil
}

// entries reads the versions of one chart from the repository's index.
func (d *download) entries(base *url.URL, chart string) ([]indexEntry, error) {
	index := *base
	index.Path = strings.TrimSuffix(index.Path, "/") + "/index.yaml"
	if index.RawPath != "" {
		index.RawPath = strings.TrimSuffix(index.RawPath, "/") + "/index.yaml"
	}
	body, err := d.index(&index)
	if err != nil {
		return nil, err
	}
	entries, err := parseIndex(body, chart)
	if err != nil {
		return nil, within("the index of "+shown(base), err)
	}
	if len(entries) == 0 {
		return nil, failure(notFound, "%s has no chart %q", shown(base), chart)
	}
	return entries, nil
}

func (d *download) index(u *url.URL) ([]byte, error) {
	key := d.client.cacheKey(u)
	known := d.indexes.find(key)
	header := http.Header{}
	if known != nil {
		if known.etag != "" {
			header.Set("If-None-Match", known.etag)
		}
		if known.modified != "" {
			header.Set("If-Modified-Since", known.modified)
		}
	}
	reply, err := d.client.get(d.ctx, exchange{url: u, header: header, limit: maxIndexBytes, what: "the index"})
	if err != nil {
		return nil, err
	}
	if reply.status == http.StatusNotModified && known != nil {
		return known.body, nil
	}
	if reply.status == http.StatusNotFound {
		return nil, failure(notFound, "%s does not exist (404): helm.repo must be the URL of a Helm repository, or oci://", shown(u))
	}
	if reply.status != http.StatusOK {
		return nil, reply.problem()
	}
	if isSettled(reply.header) {
		d.indexes.put(&cachedIndex{
			key: key, body: reply.body,
			etag: reply.header.Get("ETag"), modified: reply.header.Get("Last-Modified"),
		})
	}
	return reply.body, nil
}

// isSettled says whether a later change will have other validators: times are
// told to the second, and many servers make the tag of the time (RFC 9110,
// 8.8.2.2). Without a time the tag has to do.
func isSettled(header http.Header) bool {
	text := header.Get("Last-Modified")
	if text == "" {
		return true
	}
	modified, err := http.ParseTime(text)
	if err != nil {
		return false
	}
	date, err := http.ParseTime(header.Get("Date"))
	return err == nil && modified.Before(date)
}

// parseIndex gives one chart's entries. An index may have hundreds of charts
// and tens of megabytes, so the chart's lines are cut out first where the text
// is plain enough for it.
func parseIndex(body []byte, chart string) ([]indexEntry, error) {
	var index struct {
		Entries map[string][]indexEntry `yaml:"entries"`
	}
	if lines := cutEntry(body, chart); lines != nil {
		if yaml.Unmarshal(lines, &index) == nil && len(index.Entries[chart]) > 0 {
			return index.Entries[chart], nil
		}
		index.Entries = nil
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, failure(unavailable, "it is empty")
	}
	if err := yaml.Unmarshal(body, &index); err != nil {
		var kinds *yaml.TypeError
		if errors.As(err, &kinds) {
			return nil, failure(unavailable, "it is not the index of a Helm repository")
		}
		return nil, failure(unavailable, "it is not YAML")
	}
	return index.Entries[chart], nil
}

// cutEntry gives "entries:" and the lines of one chart's key below it; nil
// when the text is not in the block style that Helm writes. An alias of what
// is outside of these lines makes them unreadable, and all is read.
func cutEntry(body []byte, chart string) []byte {
	rest := body
	indent := -1
	inEntries := false
	var out []byte
	found := false
	for len(rest) > 0 {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, rest = rest[:i+1], rest[i+1:]
		} else {
			rest = nil
		}
		text := bytes.TrimRight(line, " \r\n")
		trimmed := bytes.TrimLeft(text, " ")
		if len(trimmed) == 0 || trimmed[0] == '#' {
			if found {
				out = append(out, line...)
			}
			continue
		}
		depth := len(text) - len(trimmed)
		if !inEntries {
			if depth == 0 && bytes.Equal(text, []byte("entries:")) {
				inEntries = true
				out = append(out, "entries:\n"...)
			}
			continue
		}
		if indent < 0 {
			indent = depth
		}
		item := trimmed[0] == '-'
		if depth < indent || (depth == 0 && !item && indent > 0) {
			break
		}
		if depth == indent && !item {
			if found {
				break
			}
			name := bytes.TrimSuffix(trimmed, []byte(":"))
			if len(name) == len(trimmed) {
				// A key with something behind it: not as Helm writes.
				return nil
			}
			found = string(bytes.Trim(name, `"'`)) == chart
		}
		if found {
			out = append(out, line...)
		}
	}
	if !found || indent <= 0 {
		return nil
	}
	return out
}

// Indexes that are kept for revalidation, all together.
const maxCachedIndexes = 64 << 20

type cachedIndex struct {
	key            [sha256.Size]byte
	body           []byte
	etag, modified string
}

// indexCache keeps what was downloaded last, so that an unchanged index is not
// downloaded again.
type indexCache struct {
	mu      sync.Mutex
	entries []*cachedIndex
	bytes   int
}

func newIndexCache() *indexCache { return &indexCache{} }

func (c *indexCache) find(key [sha256.Size]byte) *cachedIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, entry := range c.entries {
		if entry.key == key {
			return entry
		}
	}
	return nil
}

func (c *indexCache) put(entry *cachedIndex) {
	if entry.etag == "" && entry.modified == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.entries[:0]
	for _, old := range c.entries {
		if old.key != entry.key {
			kept = append(kept, old)
		} else {
			c.bytes -= len(old.body)
		}
	}
	c.entries = append(kept, entry)
	c.bytes += len(entry.body)
	for c.bytes > maxCachedIndexes && len(c.entries) > 0 {
		c.bytes -= len(c.entries[0].body)
		c.entries[0] = nil
		c.entries = c.entries[1:]
	}
}

// cacheKey tells requests apart whose credentials or trust differ: what one
// may see the other may not.
func (c *client) cacheKey(u *url.URL) [sha256.Size]byte {
	sum := sha256.New()
	part := func(text string) {
		var size [8]byte
		for i := range size {
			size[i] = byte(len(text) >> (8 * i))
		}
		sum.Write(size[:])
		sum.Write([]byte(text))
	}
	part(u.String())
	part(c.creds.Username)
	part(c.creds.Password)
	part(string(c.creds.CaBundle))
	if c.creds.InsecureSkipTlsVerify {
		part("insecure")
	}
	for o := range c.origins {
		part(o.scheme + o.host + o.port)
	}
	for o, user := range c.users {
		part(o.host + user.String())
	}
	return [sha256.Size]byte(sum.Sum(nil))
}
