// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"flotilla.dev/manager/render/worker/renderv1"
)

func TestPatchesObjects(t *testing.T) {
	deployment := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","generation":9007199254740993},"spec":{"template":{"spec":{"containers":[{"name":"x","image":"x:1"},{"name":"y","image":"y:1"}]}}}}`
	custom := `{"apiVersion":"example.com/v1","kind":"Thing","spec":{"list":[{"name":"x"}],"n":9007199254740993,"old":1}}`
	list := `[{"op":"test","path":"/spec/old","value":1},{"op":"replace","path":"/spec/list/0/name","value":"z"},{"op":"remove","path":"/spec/old"},{"op":"add","path":"/spec/a~1b","value":[1]}]`
	response := mustRender(t, &renderv1.RenderRequest{Patches: []*renderv1.Patch{
		{OriginalJson: []byte(deployment), PatchJson: []byte(`{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"y","image":"y:2"}]}}}}`)},
		{OriginalJson: []byte(custom), PatchJson: []byte(`{"spec":{"list":[{"name":"y"}],"old":null}}`)},
		{OriginalJson: []byte(custom), PatchJson: []byte(list)},
	}})
	want := []string{
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"generation":9007199254740993,"name":"a"},"spec":{"replicas":3,"template":{"spec":{"containers":[{"image":"x:1","name":"x"},{"image":"y:2","name":"y"}]}}}}`,
		`{"apiVersion":"example.com/v1","kind":"Thing","spec":{"list":[{"name":"y"}],"n":9007199254740993}}`,
		`{"apiVersion":"example.com/v1","kind":"Thing","spec":{"a/b":[1],"list":[{"name":"z"}],"n":9007199254740993}}`,
	}
	for i := range want {
		if got := string(response.Patched[i]); got != want[i] {
			t.Errorf("%d: got  %s\nwant %s", i, got, want[i])
		}
	}
}

func TestErrorsOfPatchesNameThePatchAndNoValue(t *testing.T) {
	const canary = "s3cr3t-canary"
	pod := `{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"x"}]}}`
	for _, patch := range []string{
		`[1]`, `"x"`, `{`,
		`{"spec":{"containers":[{"image":"` + canary + `"}]}}`,
		`[{"op":"replace","path":"/spec/none/0","value":"` + canary + `"}]`,
		`[{"op":"test","path":"/spec","value":"` + canary + `"}]`,
		`[{"op":"nothing","path":"/spec","value":"` + canary + `"}]`,
		`[` + strings.Repeat(`{"op":"copy","from":"","path":"/a"},`, 40) + `{"op":"copy","from":"","path":"/a"}]`,
		`{"spec":{"containers":[{"name":"x","$patch":"nothing","image":"` + canary + `"}]}}`,
		`{"a":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`,
	} {
		response := render(&renderv1.RenderRequest{Patches: []*renderv1.Patch{
			{OriginalJson: []byte(pod), PatchJson: []byte(`{}`)},
			{OriginalJson: []byte(pod), PatchJson: []byte(patch)},
		}})
		e := response.Error
		if e == nil || e.Path != "patches[1]" || strings.Contains(e.String(), canary) {
			t.Errorf("%.60s: got %v", patch, e)
		}
	}
}
