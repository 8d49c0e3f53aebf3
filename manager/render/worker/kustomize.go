// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"flotilla.dev/manager/render/worker/renderv1"
)

const (
	kustomizationFile = "kustomization.yaml"
	// Name of Helm's output in the kustomization's folder.
	manifestsFile = "fleet-manifests.yaml"
	// On objects that go in, so that they are known when they come out.
	sourceTag        = "internal.flotilla.dev/source"
	originAnnotation = "config.kubernetes.io/origin"

	// Nodes of one YAML file with its aliases followed.
	maxExpandedNodes = 500000
	// Kustomizations that are read, those that are named twice counted twice.
	maxBases = 2000
)

// Names that Kustomize itself honours; Fleet starts with the first only.
var kustomizationFiles = []string{kustomizationFile, "kustomization.yml", "Kustomization"}

// Kustomize would fetch files that are URLs. There is no network in the
// sandbox; this says so in words, and where there is no sandbox, too.
type noTransport struct{}

func (noTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("there is no network while Kustomize runs")
}

func init() { http.DefaultTransport = noTransport{} }

// kustomize runs Kustomize over the bundle's files, with `objects` as a further
// resource of the kustomization. Without one, objects pass through.
func kustomize(settings *renderv1.Kustomize, objects []*renderv1.RenderedObject) ([]*renderv1.RenderedObject, []*problem, error) {
	bundle, err := newKustomizeBundle(settings)
	if err != nil {
		return nil, nil, err
	}
	file := path.Join(bundle.dir, kustomizationFile)
	if _, ok := bundle.files[file]; !ok {
		return objects, bundle.otherSpellings(), nil
	}
	if err := bundle.check(); err != nil {
		return nil, nil, err
	}

	// Definitions of a chart's crds/ never go through Helm's post-renderer.
	var out, in []*renderv1.RenderedObject
	for _, object := range objects {
		if object.Crd {
			out = append(out, object)
		} else {
			in = append(in, object)
		}
	}
	wantsOrigin, err := bundle.addObjects(in)
	if err != nil {
		return nil, nil, err
	}
	fs, err := bundle.fileSystem()
	if err != nil {
		return nil, nil, err
	}
	result, err := krusty.MakeKustomizer(&krusty.Options{
		LoadRestrictions: types.LoadRestrictionsRootOnly,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(fs, "/"+bundle.dir)
	if err != nil {
		return nil, nil, bundle.describe(err)
	}
	if result.Size() > maxObjects {
		return nil, nil, bundleProblem(file, 0, "Kustomize gives more than %d objects", maxObjects)
	}
	for _, r := range result.Resources() {
		encoded, err := r.MarshalJSON()
		if err != nil {
			return nil, nil, bundleProblem(file, 0, "an object that Kustomize gives cannot be written as JSON")
		}
		object, err := bundle.untag(encoded, in, wantsOrigin)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, object)
	}
	return out, nil, nil
}

func bundleProblem(file string, line int, format string, args ...any) *problem {
	p := problemAt(file, line, format, args...)
	p.fromBundle = true
	return p
}

// kustomizeBundle is a bundle's files while Kustomize works on them.
type kustomizeBundle struct {
	// Of the kustomization; "" is the root.
	dir   string
	files map[string][]byte
	dirs  map[string]bool

	// Kustomizations that each folder leads to, itself among them; 0 while it is
	// being counted.
	weights map[string]int
	// Texts that no error may quote.
	secrets []string
}

func newKustomizeBundle(settings *renderv1.Kustomize) (*kustomizeBundle, error) {
	b := &kustomizeBundle{
		files:   map[string][]byte{},
		dirs:    map[string]bool{"": true},
		weights: map[string]int{},
	}
	cleaned := path.Clean("/" + settings.Dir)
	if path.IsAbs(settings.Dir) || strings.ContainsAny(settings.Dir, "\\\x00") ||
		path.Clean("x/"+settings.Dir) != path.Clean("x"+cleaned) {
		return nil, problemAt("", 0, "kustomize.dir %q is no folder of the bundle", settings.Dir)
	}
	b.dir = strings.TrimPrefix(cleaned, "/")
	if len(settings.Files) > maxChartFiles {
		return nil, problemAt("", 0, "the bundle has more than %d files", maxChartFiles)
	}
	for _, f := range settings.Files {
		if err := checkName(f.Name); err != nil {
			return nil, err
		}
		b.files[f.Name] = f.Content
		for dir := path.Dir(f.Name); dir != "."; dir = path.Dir(dir) {
			b.dirs[dir] = true
		}
	}
	return b, nil
}

// otherSpellings warns of a kustomization that is not honoured.
func (b *kustomizeBundle) otherSpellings() []*problem {
	for _, name := range kustomizationFiles[1:] {
		file := path.Join(b.dir, name)
		if _, ok := b.files[file]; ok {
			return []*problem{bundleProblem(file, 0, "Kustomize is not run: the file must be called %s", kustomizationFile)}
		}
	}
	return nil
}

// ---- Before: what Kustomize would say badly, or must not do --------------

func (b *kustomizeBundle) check() error {
	for _, name := range sortedFiles(b.files) {
		if ext := path.Ext(name); ext != ".yaml" && ext != ".yml" {
			continue
		}
		if err := checkAliases(name, b.files[name]); err != nil {
			return err
		}
	}
	_, err := b.visit(b.dir, "", 0)
	return err
}

func sortedFiles(files map[string][]byte) []string {
	names := make(map[string]any, len(files))
	for name := range files {
		names[name] = nil
	}
	return sortedKeys(names)
}

// checkAliases refuses a file whose aliases multiply.
func checkAliases(name string, content []byte) error {
	if !bytes.Contains(content, []byte("&")) || !bytes.Contains(content, []byte("*")) {
		return nil
	}
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	for {
		var document yamlv3.Node
		if decoder.Decode(&document) != nil {
			// The end, or what Kustomize is to complain of.
			return nil
		}
		if expandedNodes(&document, map[*yamlv3.Node]int{}) > maxExpandedNodes {
			return bundleProblem(name, document.Line, "aliases blow the document up to more than %d values", maxExpandedNodes)
		}
	}
}

func expandedNodes(node *yamlv3.Node, known map[*yamlv3.Node]int) int {
	if node.Kind == yamlv3.AliasNode {
		node = node.Alias
	}
	if n, ok := known[node]; ok {
		return n
	}
	// An alias within its own anchor has no end.
	known[node] = maxExpandedNodes + 1
	n := 1
	for _, child := range node.Content {
		if n += expandedNodes(child, known); n > maxExpandedNodes {
			n = maxExpandedNodes + 1
			break
		}
	}
	known[node] = n
	return n
}

// visit checks the kustomization of a folder and those that it leads to, and
// gives their number. `from` and `line` say who names the folder.
func (b *kustomizeBundle) visit(dir, from string, line int) (int, error) {
	if weight, known := b.weights[dir]; known {
		if weight == 0 {
			return 0, bundleProblem(from, line, "a cycle: the folder %s leads back to itself", orRoot(dir))
		}
		return weight, nil
	}
	b.weights[dir] = 0
	weight, err := b.read(dir, from, line)
	b.weights[dir] = weight
	return weight, err
}

func orRoot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// read is visit for a folder that was not visited yet.
func (b *kustomizeBundle) read(dir, from string, line int) (int, error) {
	var found []string
	for _, name := range kustomizationFiles {
		if _, ok := b.files[path.Join(dir, name)]; ok {
			found = append(found, path.Join(dir, name))
		}
	}
	switch len(found) {
	case 0:
		return 0, bundleProblem(from, line, "the folder %s has no %s", orRoot(dir), kustomizationFile)
	case 1:
	default:
		return 0, bundleProblem(found[1], 0, "the folder has two kustomizations: remove one of %s", strings.Join(found, ", "))
	}
	file := found[0]
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(b.files[file], &document); err != nil {
		return 0, bundleProblem(file, errorLine(err), "the file is not YAML: %s", outputProblem(err, 1))
	}
	if document.Kind == 0 || document.Content[0].Tag == "!!null" {
		if dir == b.dir {
			return 1, nil
		}
		return 0, bundleProblem(file, 1, "the file is empty")
	}
	root := document.Content[0]
	if root.Kind != yamlv3.MappingNode {
		return 0, bundleProblem(file, root.Line, "a kustomization must be a map")
	}
	weight := 1
	for i := 0; i+1 < len(root.Content); i += 2 {
		bases, err := b.checkField(dir, file, root.Content[i], root.Content[i+1])
		if err != nil {
			return 0, err
		}
		if weight += bases; weight > maxBases {
			return 0, bundleProblem(file, root.Content[i].Line, "more than %d kustomizations are read from here", maxBases)
		}
	}
	return weight, nil
}

// Where a field's items name files: in themselves, or in a member.
var (
	fileFields   = map[string]bool{"crds": true, "configurations": true}
	inlineFields = map[string]bool{"patchesStrategicMerge": true, "generators": true, "transformers": true, "validators": true}
	pathFields   = map[string]bool{"patches": true, "patchesJson6902": true, "replacements": true}
)

// checkField gives the number of kustomizations that the field leads to.
func (b *kustomizeBundle) checkField(dir, file string, key, value *yamlv3.Node) (bases int, err error) {
	field := key.Value
	switch {
	case field == "helmCharts" || field == "helmChartInflationGenerator":
		return 0, bundleProblem(file, key.Line,
			"%s is not done: Kustomize would start the program helm; name the chart under helm in fleet.yaml, and the kustomization is applied to what it renders to", field)
	case field == "resources" || field == "bases" || field == "components":
		for _, item := range scalars(value) {
			weight, err := b.checkResource(dir, file, field, item)
			if err != nil {
				return 0, err
			}
			if bases += weight; bases > maxBases {
				break
			}
		}
	case fileFields[field]:
		for _, item := range scalars(value) {
			if err := b.checkFile(dir, file, field, item, item.Value); err != nil {
				return 0, err
			}
		}
	case inlineFields[field]:
		for _, item := range scalars(value) {
			if strings.ContainsAny(item.Value, "\n{:") && !isRemote(item.Value) {
				continue
			}
			if field == "patchesStrategicMerge" {
				if err := b.checkFile(dir, file, field, item, item.Value); err != nil {
					return 0, err
				}
			} else if _, err := b.checkResource(dir, file, field, item); err != nil {
				return 0, err
			}
		}
	case pathFields[field]:
		for _, item := range value.Content {
			if at := member(item, "path"); at != nil {
				if err := b.checkFile(dir, file, field, at, at.Value); err != nil {
					return 0, err
				}
			}
		}
	case field == "openapi":
		if at := member(value, "path"); at != nil {
			return 0, b.checkFile(dir, file, field, at, at.Value)
		}
	case field == "configMapGenerator" || field == "secretGenerator":
		for _, item := range value.Content {
			if err := b.checkGenerator(dir, file, field, item); err != nil {
				return 0, err
			}
		}
	}
	return bases, nil
}

func (b *kustomizeBundle) checkGenerator(dir, file, field string, generator *yamlv3.Node) error {
	for _, literal := range scalars(member(generator, "literals")) {
		b.keepSecret(literal.Value)
		if _, value, ok := strings.Cut(literal.Value, "="); ok {
			b.keepSecret(value)
		}
	}
	for _, name := range []string{"files", "envs"} {
		for _, item := range scalars(member(generator, name)) {
			source := item.Value
			if key, value, ok := strings.Cut(source, "="); ok && name == "files" && key != "" {
				source = value
			}
			if err := b.checkFile(dir, file, field, item, source); err != nil {
				return err
			}
		}
	}
	if item := member(generator, "env"); item != nil && item.Value != "" {
		return b.checkFile(dir, file, field, item, item.Value)
	}
	return nil
}

// scalars gives the texts of a list.
func scalars(node *yamlv3.Node) []*yamlv3.Node {
	if node == nil || node.Kind != yamlv3.SequenceNode {
		return nil
	}
	var texts []*yamlv3.Node
	for _, item := range node.Content {
		if item.Kind == yamlv3.ScalarNode && item.Value != "" {
			texts = append(texts, item)
		}
	}
	return texts
}

func member(node *yamlv3.Node, name string) *yamlv3.Node {
	if node == nil || node.Kind != yamlv3.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

var (
	remote = regexp.MustCompile(`://|^git::|^gh:|^[\w.-]+@[\w.-]+[:/]|^(?:www\.)?(?:github|gitlab|bitbucket)\.[a-z]+[/:]|\.git(?:[/?]|$)|[?&](?:ref|version)=`)
	// What may hold a password.
	userInfo = regexp.MustCompile(`//[^/@\s]*@`)
)

func isRemote(name string) bool { return remote.MatchString(name) }

func remoteProblem(file, field string, item *yamlv3.Node) error {
	shown, _, _ := strings.Cut(userInfo.ReplaceAllString(item.Value, "//"), "?")
	return bundleProblem(file, item.Line,
		"%s names %s, and nothing is fetched while Kustomize runs: commit a copy to the repository", field, shown)
}

// checkResource is for what may be a file or a folder.
func (b *kustomizeBundle) checkResource(dir, file, field string, item *yamlv3.Node) (bases int, err error) {
	target := path.Join("/", dir, item.Value)[1:]
	if b.dirs[target] && !path.IsAbs(item.Value) {
		return b.visit(target, file, item.Line)
	}
	if field == "components" && !isRemote(item.Value) {
		return 0, bundleProblem(file, item.Line, "%s names %s, and there is no such folder in the bundle", field, item.Value)
	}
	return 0, b.checkFile(dir, file, field, item, item.Value)
}

func (b *kustomizeBundle) checkFile(dir, file, field string, item *yamlv3.Node, name string) error {
	target := path.Join("/", dir, name)[1:]
	if path.IsAbs(name) {
		target = path.Clean(name)[1:]
	}
	content, ok := b.files[target]
	if !ok && target == path.Join(b.dir, manifestsFile) {
		return nil
	}
	switch {
	case !ok && isRemote(name):
		return remoteProblem(file, field, item)
	case !ok:
		kind := "file"
		if field == "resources" || field == "bases" {
			kind = "file or folder"
		}
		return bundleProblem(file, item.Line, "%s names %s, and there is no such %s in the bundle", field, name, kind)
	case dir != "" && !strings.HasPrefix(target, dir+"/"):
		return bundleProblem(file, item.Line,
			"%s names %s, which lies outside of the kustomization's folder: Kustomize uses files in or below it only; make the other folder a base, or move the file", field, name)
	case !legalName(target):
		return bundleProblem(file, item.Line, "%s names %s: Kustomize takes names of letters, digits, '-', '_', '.' and ':' only", field, name)
	}
	if field == "secretGenerator" {
		for _, line := range strings.Split(string(content), "\n") {
			b.keepSecret(strings.TrimSpace(line))
			if _, value, ok := strings.Cut(line, "="); ok {
				b.keepSecret(strings.TrimSpace(value))
			}
		}
	}
	if ext := path.Ext(target); field == "resources" && (ext == ".yaml" || ext == ".yml") {
		if err := parses(content); err != nil {
			return bundleProblem(target, errorLine(err), "the file is not YAML: %s", outputProblem(err, 1))
		}
	}
	return nil
}

// parses gives the first error of a YAML file.
func parses(content []byte) error {
	decoder := yamlv3.NewDecoder(bytes.NewReader(content))
	for {
		var document yamlv3.Node
		if err := decoder.Decode(&document); err != nil {
			if err.Error() == "EOF" {
				return nil
			}
			return err
		}
	}
}

const maxKeptSecrets = 10000

func (b *kustomizeBundle) keepSecret(text string) {
	if len(text) >= 4 && len(b.secrets) < maxKeptSecrets {
		b.secrets = append(b.secrets, text)
	}
}

// ---- In and out ----------------------------------------------------------

// addObjects writes the objects to a file, and names it first among the
// resources. It says whether the user wants to see where objects came from.
func (b *kustomizeBundle) addObjects(objects []*renderv1.RenderedObject) (wantsOrigin bool, err error) {
	var manifests bytes.Buffer
	for i, object := range objects {
		manifests.WriteString("---\n")
		manifests.Write(tagged(object.Json, i))
		manifests.WriteString("\n")
	}
	b.files[path.Join(b.dir, manifestsFile)] = manifests.Bytes()

	file := path.Join(b.dir, kustomizationFile)
	var document yamlv3.Node
	if err := yamlv3.Unmarshal(b.files[file], &document); err != nil {
		return false, bundleProblem(file, errorLine(err), "the file is not YAML: %s", outputProblem(err, 1))
	}
	if document.Kind == 0 || document.Content[0].Tag == "!!null" {
		if len(objects) == 0 {
			return false, bundleProblem(file, 1, "the file is empty")
		}
		document = yamlv3.Node{Kind: yamlv3.DocumentNode, Content: []*yamlv3.Node{{Kind: yamlv3.MappingNode}}}
	}
	root := document.Content[0]
	if len(objects) > 0 {
		prepend(root, "resources", manifestsFile)
	}
	wantsOrigin = prepend(root, "buildMetadata", types.OriginAnnotations)
	changed, err := yamlv3.Marshal(&document)
	if err != nil {
		return false, bundleProblem(file, 0, "the file cannot be written anew")
	}
	b.files[file] = changed
	return wantsOrigin, nil
}

// prepend puts a text before those of a list, unless it is there.
func prepend(root *yamlv3.Node, field, text string) (present bool) {
	item := &yamlv3.Node{Kind: yamlv3.ScalarNode, Tag: "!!str", Value: text}
	list := member(root, field)
	if list == nil || list.Kind != yamlv3.SequenceNode {
		if list == nil {
			list = &yamlv3.Node{}
			root.Content = append(root.Content, &yamlv3.Node{Kind: yamlv3.ScalarNode, Tag: "!!str", Value: field}, list)
		} else if list.Tag != "!!null" {
			// Kustomize is to say what is wrong with it.
			return false
		}
		*list = yamlv3.Node{Kind: yamlv3.SequenceNode, Tag: "!!seq", Content: []*yamlv3.Node{item}}
		return false
	}
	for _, have := range list.Content {
		if have.Value == text {
			return true
		}
	}
	list.Content = append([]*yamlv3.Node{item}, list.Content...)
	return false
}

// legalName says whether Kustomize's file system in memory takes the name.
func legalName(name string) bool {
	for _, part := range strings.Split(name, "/") {
		if strings.Contains(part, "..") {
			return false
		}
		for _, c := range part {
			if !strings.ContainsRune("-_.:", c) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return true
}

func (b *kustomizeBundle) fileSystem() (filesys.FileSystem, error) {
	fs := filesys.MakeFsInMemory()
	for name, content := range b.files {
		// What it does not take, it cannot name either.
		if !legalName(name) {
			continue
		}
		if err := fs.WriteFile("/"+name, content); err != nil {
			return nil, bundleProblem(name, 0, "Kustomize does not take the file: %v", err)
		}
	}
	return fs, nil
}

// tagged puts an annotation with the object's index on it, where it can bear
// one.
func tagged(object []byte, index int) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return object
	}
	var metadata, annotations map[string]json.RawMessage
	if json.Unmarshal(fields["metadata"], &metadata) != nil || metadata == nil {
		return object
	}
	tag := strconv.Itoa(index)
	if raw, ok := metadata["annotations"]; ok {
		if json.Unmarshal(raw, &annotations) != nil {
			return object
		}
		if annotations != nil {
			// An empty map stays one.
			tag += "+"
		}
	}
	if annotations == nil {
		annotations = map[string]json.RawMessage{}
	}
	annotations[sourceTag] = json.RawMessage(strconv.Quote(tag))
	metadata["annotations"], _ = json.Marshal(annotations)
	fields["metadata"], _ = json.Marshal(metadata)
	out, err := json.Marshal(fields)
	if err != nil {
		return object
	}
	return out
}

// untag takes our annotations off and says where the object came from.
func (b *kustomizeBundle) untag(encoded []byte, in []*renderv1.RenderedObject, keepOrigin bool) (*renderv1.RenderedObject, error) {
	object := &renderv1.RenderedObject{SourceFile: path.Join(b.dir, kustomizationFile), FromBundle: true}
	var fields, metadata, annotations map[string]json.RawMessage
	if json.Unmarshal(encoded, &fields) != nil {
		return nil, bundleProblem(object.SourceFile, 0, "what Kustomize gives is no object")
	}
	if json.Unmarshal(fields["metadata"], &metadata) == nil {
		_ = json.Unmarshal(metadata["annotations"], &annotations)
	}
	if annotations != nil {
		keepEmpty := false
		var origin, tag string
		_ = json.Unmarshal(annotations[originAnnotation], &origin)
		_ = json.Unmarshal(annotations[sourceTag], &tag)
		if tag != "" {
			number, found := strings.CutSuffix(tag, "+")
			keepEmpty = found
			if i, err := strconv.Atoi(number); err == nil && i < len(in) {
				object.SourceFile, object.FromBundle = in[i].SourceFile, in[i].FromBundle
			}
		} else {
			b.originOf(origin, object)
		}
		delete(annotations, sourceTag)
		if !keepOrigin {
			delete(annotations, originAnnotation)
		}
		if len(annotations) == 0 && !keepEmpty {
			delete(metadata, "annotations")
		} else {
			metadata["annotations"], _ = json.Marshal(annotations)
		}
		fields["metadata"], _ = json.Marshal(metadata)
	}
	var err error
	object.Json, err = json.Marshal(fields)
	if err != nil {
		return nil, bundleProblem(object.SourceFile, 0, "an object that Kustomize gives cannot be written as JSON")
	}
	return object, nil
}

// originOf reads Kustomize's own annotation: a path for a resource, or where a
// generator is configured.
func (b *kustomizeBundle) originOf(text string, object *renderv1.RenderedObject) {
	var origin struct {
		Path         string `yaml:"path"`
		ConfiguredIn string `yaml:"configuredIn"`
	}
	if text == "" || yamlv3.Unmarshal([]byte(text), &origin) != nil {
		return
	}
	for _, name := range []string{origin.Path, origin.ConfiguredIn} {
		file := path.Join("/", b.dir, name)[1:]
		if _, ok := b.files[file]; ok && name != "" {
			object.SourceFile = file
			return
		}
	}
}

// ---- Errors --------------------------------------------------------------

var (
	malformed    = regexp.MustCompile(`MalformedYAMLError: (.*?) in File: ([^\s:'"]+)`)
	recursedPath = regexp.MustCompile(`(?:recursed accumulation of path|couldn't make target for path|recursed merging from path) '/?([^']*)'`)
	wrapped      = regexp.MustCompile(`^(?:accumulating (?:resources|components)|recursed accumulation of path '[^']*'|accumulateDirectory|accumulation err='[^']*'): `)
	quotedPatch  = regexp.MustCompile(`(?s)(parse SM or JSON patch from |JSON patch |for patch |must specify one of patch and path in|can't be set at the same time|cannot be found in (?:roleRef )?|invalid utf8 bytes : ).*`)
	literal      = regexp.MustCompile(`(?s)literal source .*, expected`)
)

// describe words an error of Kustomize with its file, and with no value.
func (b *kustomizeBundle) describe(err error) *problem {
	text := err.Error()
	file := path.Join(b.dir, kustomizationFile)
	if all := recursedPath.FindAllStringSubmatch(text, -1); len(all) > 0 {
		for _, name := range kustomizationFiles {
			inner := path.Join(all[len(all)-1][1], name)
			if _, ok := b.files[inner]; ok {
				file = inner
			}
		}
	}
	if m := malformed.FindStringSubmatch(text); m != nil {
		for _, dir := range []string{path.Dir(file), b.dir} {
			inner := path.Join(dir, m[2])
			if _, ok := b.files[inner]; ok {
				return bundleProblem(inner, errorLine(errors.New(m[1])), "the file is not YAML: %s", outputProblem(errors.New(m[1]), 1))
			}
		}
	}
	for wrapped.MatchString(text) {
		text = wrapped.ReplaceAllString(text, "")
	}
	text = literal.ReplaceAllString(text, "literal source: expected")
	text = quotedPatch.ReplaceAllString(text, "$1")
	b.secretsOfObjects()
	for _, secret := range b.secrets {
		text = strings.ReplaceAll(text, secret, "(a value)")
	}
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, "'/", "'")), " ")
	return bundleProblem(file, 0, "Kustomize fails: %s", text)
}

// secretsOfObjects collects what Secrets of the bundle hold.
func (b *kustomizeBundle) secretsOfObjects() {
	for _, name := range sortedFiles(b.files) {
		if !bytes.Contains(b.files[name], []byte("Secret")) {
			continue
		}
		decoder := yamlv3.NewDecoder(bytes.NewReader(b.files[name]))
		for {
			var document yamlv3.Node
			if decoder.Decode(&document) != nil || len(document.Content) == 0 {
				break
			}
			for _, field := range []string{"data", "stringData"} {
				data := member(document.Content[0], field)
				if data == nil {
					continue
				}
				for i := 1; i < len(data.Content); i += 2 {
					b.keepSecret(data.Content[i].Value)
				}
			}
		}
	}
}
