// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/md5"  //nolint:gosec // what users write in checksum=
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"net/url"
	"path"
	"regexp"
	"strings"
)

var forcedPrefix = regexp.MustCompile(`^([A-Za-z0-9]+)::(.+)$`)

// findByURL downloads the archive that helm.chart names, in the notation of
// go-getter: `https::` before it, `//folder` in it, `checksum=` and `archive=`
// in its query. What lies in Git is not fetched by this program.
func (d *download) findByURL(raw string) (*packed, outcome, error) {
	if match := forcedPrefix.FindStringSubmatch(raw); match != nil {
		switch forced := strings.ToLower(match[1]); forced {
		case "http", "https":
			raw = match[2]
		default:
			return nil, outcome{}, failure(invalidArgument, "helm.chart: %s:: is not supported; use https:// or oci://", forced)
		}
	}
	if !strings.Contains(raw, "://") {
		return nil, outcome{}, failure(invalidArgument, "helm.chart %q is neither a folder of the bundle nor a URL; for a chart of a repository set helm.repo, too", shownText(raw))
	}
	u, user, err := parseURL(raw)
	if err != nil {
		return nil, outcome{}, within("helm.chart", err)
	}
	subdir, err := takeSubdir(u)
	if err != nil {
		return nil, outcome{}, err
	}
	sum, err := takeOptions(u)
	if err != nil {
		return nil, outcome{}, err
	}
	if path.Ext(u.Path) == ".git" {
		return nil, outcome{}, failure(invalidArgument, "helm.chart: %s is the address of a Git repository: write git:: before it", shown(u))
	}
	if err := d.client.trust(u, user); err != nil {
		return nil, outcome{}, err
	}
	body, err := d.archiveBytes(u)
	if err != nil {
		return nil, outcome{}, err
	}
	if sum != nil {
		if err := sum.check(body); err != nil {
			return nil, outcome{}, within(shown(u), err)
		}
	}
	archive, err := newPacked(body)
	if err != nil {
		return nil, outcome{}, within(shown(u), err)
	}
	archive.subdir = subdir
	return archive, outcome{version: versionOf(archive), immutable: sum != nil && sum.strong}, nil
}

// versionOf reads the version of the chart itself: nobody else says it. What
// is wrong with the archive is found when it is unpacked.
func versionOf(p *packed) string {
	version := ""
	names, err := newBudget().survey(p)
	if err != nil {
		return ""
	}
	root, err := chartRoot(p, names)
	if err != nil {
		return ""
	}
	_ = p.walk(nil, func(e entry) error {
		if inside, ok := below(root, e.name); ok && inside == "Chart.yaml" && e.refused == "" {
			version = chartVersion(e.in)
		}
		return nil
	})
	return version
}

// takeSubdir removes "//folder" from the URL's path.
func takeSubdir(u *url.URL) (string, error) {
	at := strings.Index(strings.TrimPrefix(u.Path, "/"), "//")
	if at < 0 {
		return "", nil
	}
	at += len(u.Path) - len(strings.TrimPrefix(u.Path, "/"))
	subdir := strings.Trim(u.Path[at:], "/")
	u.Path, u.RawPath = u.Path[:at], ""
	if subdir == "" {
		return "", nil
	}
	clean, err := cleanName(subdir)
	if err != nil {
		return "", within("helm.chart", err)
	}
	return clean, nil
}

// takeOptions removes go-getter's own parameters from the query.
func takeOptions(u *url.URL) (*checksum, error) {
	query := u.Query()
	text, archive := query.Get("checksum"), query.Get("archive")
	if !query.Has("checksum") && !query.Has("archive") {
		return nil, nil
	}
	query.Del("checksum")
	query.Del("archive")
	u.RawQuery = query.Encode()
	switch archive {
	case "", "true", "tar.gz", "tgz", "tar.bz2", "tbz2", "tar", "zip":
	case "false":
		return nil, failure(invalidArgument, "helm.chart: archive=false: a chart is an archive")
	default:
		return nil, failure(invalidArgument, "helm.chart: archive=%s is not supported; use .tgz, .tar, .tar.bz2 or .zip", archive)
	}
	if text == "" {
		return nil, nil
	}
	return parseChecksum(text)
}

type checksum struct {
	hash   hash.Hash
	want   string
	strong bool
}

func parseChecksum(text string) (*checksum, error) {
	kind, digits, found := strings.Cut(text, ":")
	if !found {
		digits = kind
		kind = map[int]string{32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}[len(digits)]
	}
	sum := &checksum{want: strings.ToLower(digits)}
	switch strings.ToLower(kind) {
	case "md5":
		sum.hash = md5.New()
	case "sha1":
		sum.hash = sha1.New()
	case "sha256":
		sum.hash, sum.strong = sha256.New(), true
	case "sha512":
		sum.hash, sum.strong = sha512.New(), true
	default:
		return nil, failure(invalidArgument, "helm.chart: checksum= is md5:, sha1:, sha256: or sha512: and hexadecimal digits")
	}
	if raw, err := hex.DecodeString(sum.want); err != nil || len(raw) != sum.hash.Size() {
		return nil, failure(invalidArgument, "helm.chart: checksum=%s: has not %d hexadecimal digits", strings.ToLower(kind), 2*sum.hash.Size())
	}
	return sum, nil
}

func (s *checksum) check(body []byte) error {
	s.hash.Write(body)
	if got := hex.EncodeToString(s.hash.Sum(nil)); got != s.want {
		return failure(invalidArgument, "the checksum is %s, not %s as helm.chart says", got, s.want)
	}
	return nil
}
