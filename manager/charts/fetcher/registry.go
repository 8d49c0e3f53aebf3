// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/publicsuffix"
)

const (
	chartConfigType  = "application/vnd.cncf.helm.config.v1+json"
	chartLayerType   = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	oldLayerType     = "application/tar+gzip"
	manifestType     = "application/vnd.oci.image.manifest.v1+json"
	manifestListType = "application/vnd.oci.image.index.v1+json"
	dockerType       = "application/vnd.docker.distribution.manifest.v2+json"

	maxTagPages = 200
	maxTags     = 200000
)

var (
	repositoryPattern = regexp.MustCompile(`^[A-Za-z0-9]+((\.|_{1,2}|-+|/)[A-Za-z0-9]+)*$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestPattern     = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
	challengePart     = regexp.MustCompile(`([a-zA-Z_]+)="([^"]*)"`)
)

// registry is one repository of an OCI registry.
type registry struct {
	d    *download
	base *url.URL
	// Path of the repository.
	name string
	// As people know it: "oci://host/path".
	shown string
	// Of the registry's token service; "" when there is none.
	authorization string
	challenged    bool
}

// reference is a parsed oci:// URL.
type reference struct {
	base        *url.URL
	user        *url.Userinfo
	name        string
	tag, digest string
}

func (d *download) parseReference(raw string) (*reference, error) {
	scheme := "https://"
	if d.client.creds.BasicHttp {
		scheme = "http://"
	}
	u, user, err := parseURL(scheme + raw[len("oci://"):])
	if err != nil {
		return nil, err
	}
	if u.RawQuery != "" {
		return nil, failure(invalidArgument, "%s: an oci:// URL has no query", shownText(raw))
	}
	r := &reference{base: u, user: user, name: strings.Trim(u.Path, "/")}
	if name, digest, found := strings.Cut(r.name, "@"); found {
		r.name, r.digest = name, digest
		if !digestPattern.MatchString(digest) {
			return nil, failure(invalidArgument, "%s: what follows @ is not sha256: and 64 digits", shownText(raw))
		}
	}
	if colon := strings.LastIndex(r.name, ":"); colon > strings.LastIndex(r.name, "/") {
		r.name, r.tag = r.name[:colon], r.name[colon+1:]
		if !tagPattern.MatchString(r.tag) {
			return nil, failure(invalidArgument, "%s: what follows the colon is not a tag", shownText(raw))
		}
	}
	u.Path, u.RawPath = "/", ""
	if len(r.name) > 400 || !repositoryPattern.MatchString(r.name) {
		return nil, failure(invalidArgument, "%s does not name a repository: oci://host/path is wanted", shownText(raw))
	}
	switch u.Host {
	case "docker.io", "index.docker.io":
		u.Host = "registry-1.docker.io"
		if !strings.Contains(r.name, "/") {
			r.name = "library/" + r.name
		}
	}
	return r, nil
}

// findInRegistry gives the chart at an oci:// URL. With a chart's name, too,
// the URL may be the folder that the chart is in.
func (d *download) findInRegistry(raw, chart, version string) (*packed, outcome, error) {
	ref, err := d.parseReference(raw)
	if err != nil {
		return nil, outcome{}, err
	}
	if err := d.client.trust(ref.base, ref.user); err != nil {
		return nil, outcome{}, err
	}
	archive, result, err := d.pull(ref, version)
	if err == nil || chart == "" || ref.tag != "" || ref.digest != "" ||
		ref.name == chart || strings.HasSuffix(ref.name, "/"+chart) ||
		!(isCode(err, notFound) || isCode(err, unauthenticated)) {
		return archive, result, err
	}
	if checkChartName(chart) != nil || !repositoryPattern.MatchString(chart) {
		return nil, outcome{}, err
	}
	deeper := *ref
	deeper.name += "/" + chart
	archive, result, deeperErr := d.pull(&deeper, version)
	if deeperErr != nil && isCode(deeperErr, notFound) && !isCode(err, notFound) {
		return nil, outcome{}, err
	}
	return archive, result, deeperErr
}

func (d *download) pull(ref *reference, version string) (*packed, outcome, error) {
	r := &registry{d: d, base: ref.base, name: ref.name, shown: "oci://" + ref.base.Host + "/" + ref.name}
	result := outcome{}
	target := ref.digest
	switch {
	case ref.digest != "":
		result.version = tagVersion(ref.tag)
		result.immutable = true
	case ref.tag != "" && (version == "" || version == tagVersion(ref.tag) || version == ref.tag):
		target = ref.tag
		result = outcome{version: tagVersion(ref.tag), immutable: isExact(tagVersion(ref.tag))}
	case ref.tag != "":
		return nil, outcome{}, failure(invalidArgument, "%s names tag %q and helm.version says %q: say one of them", r.shown, ref.tag, version)
	case isExact(version):
		// No need to list what there is.
		target = versionTag(version)
		result = outcome{version: version, immutable: true}
	default:
		tags, err := r.tags()
		if err != nil {
			return nil, outcome{}, err
		}
		versions := make([]string, len(tags))
		for i, tag := range tags {
			versions[i] = tagVersion(tag)
		}
		picked, err := pickVersion(versions, version)
		if err != nil {
			return nil, outcome{}, err
		}
		if picked < 0 {
			return nil, outcome{}, noVersion(r.shown, version, versions)
		}
		target = tags[picked]
		result = outcome{version: versions[picked]}
	}
	body, err := r.chart(target)
	if err != nil {
		return nil, outcome{}, err
	}
	archive, err := newPacked(body)
	return archive, result, err
}

// Tags cannot have the + of a version.
func versionTag(version string) string { return strings.ReplaceAll(version, "+", "_") }
func tagVersion(tag string) string     { return strings.ReplaceAll(tag, "_", "+") }

func (r *registry) endpoint(path string) *url.URL {
	u := *r.base
	u.Path = "/v2/" + r.name + "/" + path
	return &u
}

// get asks the registry, with what it wants for it.
func (r *registry) get(u *url.URL, accept []string, limit int64, what string) (*reply, error) {
	header := http.Header{}
	if len(accept) > 0 {
		header.Set("Accept", strings.Join(accept, ", "))
	}
	header.Set("Accept-Encoding", "identity")
	e := exchange{url: u, header: header, limit: limit, what: what,
		authorization: r.authorization, anonymous: !r.challenged}
	got, err := r.d.client.get(r.d.ctx, e)
	if err != nil {
		return nil, err
	}
	if got.status == http.StatusUnauthorized && !r.challenged && originOf(got.url) == originOf(r.base) {
		r.challenged = true
		if err := r.answerChallenge(got.header.Values("Www-Authenticate")); err != nil {
			return nil, err
		}
		e.authorization, e.anonymous = r.authorization, false
		if got, err = r.d.client.get(r.d.ctx, e); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// answerChallenge gets a token if the registry has a token service. For basic
// authentication there is nothing to do: the client sends it.
func (r *registry) answerChallenge(challenges []string) error {
	for _, challenge := range challenges {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(challenge), " ")
		if !strings.EqualFold(scheme, "bearer") {
			continue
		}
		parts := map[string]string{}
		for _, match := range challengePart.FindAllStringSubmatch(rest, -1) {
			parts[strings.ToLower(match[1])] = match[2]
		}
		return r.fetchToken(parts["realm"], parts["service"])
	}
	return nil
}

func (r *registry) fetchToken(realm, service string) error {
	u, _, err := parseURL(realm)
	if err != nil {
		return within(r.shown+" names a token service that is refused", err)
	}
	c := r.d.client
	query := u.Query()
	if service != "" {
		query.Set("service", service)
	}
	query.Set("scope", "repository:"+r.name+":pull")
	u.RawQuery = query.Encode()
	elsewhere := originOf(u) != originOf(r.base)
	trusted := false
	if elsewhere && c.origins[originOf(r.base)] && r.mayForward(u) {
		c.origins[originOf(u)] = true
		trusted = true
	}
	got, err := c.get(r.d.ctx, exchange{url: u, limit: maxSmallBytes, what: "the token"})
	if trusted {
		delete(c.origins, originOf(u))
	}
	if err != nil {
		return err
	}
	if got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
		err := got.problem()
		if !got.authorized && c.hasCredentials() && elsewhere {
			return failure(unauthenticated, "%s: its token service %s is on a host of another domain, and was not sent the credentials", r.shown, u.Host)
		}
		return within(r.shown, err)
	}
	if got.status != http.StatusOK {
		return within(r.shown, got.problem())
	}
	var token struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(got.body, &token) != nil {
		return failure(unavailable, "%s: the token service %s answered with what is no token", r.shown, u.Host)
	}
	value := token.Token
	if value == "" {
		value = token.AccessToken
	}
	if value == "" || strings.ContainsAny(value, "\r\n\x00") {
		return failure(unavailable, "%s: the token service %s answered with what is no token", r.shown, u.Host)
	}
	r.authorization = "Bearer " + value
	return nil
}

// mayForward: a token service on another host gets the credentials only when
// the registry said so over verified TLS, it is TLS, too, and both have the
// same owner (registry.example.com and example.com).
func (r *registry) mayForward(realm *url.URL) bool {
	if r.base.Scheme != "https" || realm.Scheme != "https" || r.d.client.creds.InsecureSkipTlsVerify {
		return false
	}
	a, errA := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(r.base.Hostname()))
	b, errB := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(realm.Hostname()))
	return errA == nil && errB == nil && a == b
}

func (r *registry) tags() ([]string, error) {
	var tags []string
	u := r.endpoint("tags/list")
	u.RawQuery = "n=1000"
	for page := 0; ; page++ {
		if page == maxTagPages {
			return nil, failure(resourceExhausted, "%s has more than %d pages of tags", r.shown, maxTagPages)
		}
		got, err := r.get(u, nil, maxSmallBytes, "a list of tags")
		if err != nil {
			return nil, err
		}
		if got.status != http.StatusOK {
			return nil, r.problem(got)
		}
		var list struct {
			Tags []string `json:"tags"`
		}
		if json.Unmarshal(got.body, &list) != nil {
			return nil, failure(unavailable, "%s answered with what is no list of tags", r.shown)
		}
		for _, tag := range list.Tags {
			if tagPattern.MatchString(tag) {
				tags = append(tags, tag)
			}
		}
		if len(tags) > maxTags {
			return nil, failure(resourceExhausted, "%s has more than %d tags", r.shown, maxTags)
		}
		next := nextPage(got.header.Get("Link"))
		if next == "" {
			return tags, nil
		}
		u, err = u.Parse(next)
		if err != nil || originOf(u) != originOf(r.base) {
			return nil, failure(unavailable, "%s: the next page of tags is elsewhere", r.shown)
		}
	}
}

// nextPage reads `<url>; rel="next"`.
func nextPage(link string) string {
	target, rest, found := strings.Cut(link, ">")
	if !found || !strings.HasPrefix(target, "<") || !strings.Contains(rest, "next") {
		return ""
	}
	return target[1:]
}

type descriptor struct {
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
}

type manifest struct {
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

// chart downloads the archive that a tag or digest names.
func (r *registry) chart(target string) ([]byte, error) {
	m, err := r.manifest(target)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) == 0 && len(m.Manifests) > 0 {
		inner := m.Manifests[0]
		for _, candidate := range m.Manifests {
			if candidate.ArtifactType == chartConfigType {
				inner = candidate
			}
		}
		if !digestPattern.MatchString(inner.Digest) {
			return nil, failure(unavailable, "%s:%s has a manifest without a SHA-256", r.shown, target)
		}
		if m, err = r.manifest(inner.Digest); err != nil {
			return nil, err
		}
	}
	for _, layer := range m.Layers {
		if layer.MediaType == chartLayerType || layer.MediaType == oldLayerType {
			return r.blob(layer)
		}
	}
	return nil, failure(invalidArgument, "%s:%s is no Helm chart (it has no layer of type %s)", r.shown, target, chartLayerType)
}

func (r *registry) manifest(target string) (*manifest, error) {
	got, err := r.get(r.endpoint("manifests/"+target), []string{manifestType, manifestListType, dockerType}, maxSmallBytes, "a manifest")
	if err != nil {
		return nil, err
	}
	if got.status == http.StatusNotFound {
		return nil, failure(notFound, "%s has no version %q (404)", r.shown, tagVersion(target))
	}
	if got.status != http.StatusOK {
		return nil, r.problem(got)
	}
	if digestPattern.MatchString(target) && !hasDigest(got.body, target) {
		return nil, failure(unavailable, "%s answered with another manifest than %s", r.shown, target)
	}
	m := &manifest{}
	if json.Unmarshal(got.body, m) != nil {
		return nil, failure(unavailable, "%s answered with what is no manifest", r.shown)
	}
	return m, nil
}

func (r *registry) blob(layer descriptor) ([]byte, error) {
	if !digestPattern.MatchString(layer.Digest) {
		return nil, failure(unavailable, "%s has a layer without a SHA-256", r.shown)
	}
	if layer.Size > maxArchiveBytes {
		return nil, failure(resourceExhausted, "%s: the archive has %d MiB, more than the limit of %d MiB", r.shown, layer.Size>>20, maxArchiveBytes>>20)
	}
	got, err := r.get(r.endpoint("blobs/"+layer.Digest), nil, maxArchiveBytes, "the archive")
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, r.problem(got)
	}
	if !hasDigest(got.body, layer.Digest) {
		return nil, failure(unavailable, "%s answered with another archive than the manifest names", r.shown)
	}
	return got.body, nil
}

func hasDigest(body []byte, digest string) bool {
	sum := sha256.Sum256(body)
	return "sha256:"+hex.EncodeToString(sum[:]) == digest
}

// problem: registries say 401 or 403 of what does not exist, too.
func (r *registry) problem(got *reply) error {
	switch got.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		if r.d.client.hasCredentials() {
			return failure(unauthenticated, "%s does not exist, or the credentials may not read it (%d)", r.shown, got.status)
		}
		return failure(unauthenticated, "%s does not exist, or may not be read without credentials (%d)", r.shown, got.status)
	case http.StatusNotFound:
		return failure(notFound, "%s does not exist (404)", r.shown)
	}
	return got.problem()
}
