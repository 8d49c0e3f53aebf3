// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"

	"flotilla.dev/manager/render/worker/renderv1"
)

// Deepest nesting of brackets in an object or a patch.
const maxObjectNesting = 1000

// applyPatch does a strategic merge on objects of built-in kinds, and a JSON
// merge patch on others.
func applyPatch(patch *renderv1.Patch) ([]byte, error) {
	if nesting(patch.OriginalJson) > maxObjectNesting || nesting(patch.PatchJson) > maxObjectNesting {
		return nil, fmt.Errorf("the object or its patch is nested deeper than %d", maxObjectNesting)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(patch.OriginalJson, &object); err != nil || object == nil {
		return nil, errors.New("what is to be patched is no object")
	}
	var changes map[string]json.RawMessage
	if err := json.Unmarshal(patch.PatchJson, &changes); err != nil || changes == nil {
		return nil, errors.New("the patch is no object")
	}
	var apiVersion, kind string
	_ = json.Unmarshal(object["apiVersion"], &apiVersion)
	_ = json.Unmarshal(object["kind"], &kind)
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, errors.New("the apiVersion of the object is not one")
	}
	typed, err := scheme.Scheme.New(gv.WithKind(kind))
	if runtime.IsNotRegisteredError(err) {
		patched, err := jsonpatch.MergePatch(patch.OriginalJson, patch.PatchJson)
		if err != nil {
			return nil, fmt.Errorf("the merge patch for this %s cannot be applied", kind)
		}
		return patched, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the kind of the object cannot be used: %s", kind)
	}
	patched, err := strategicpatch.StrategicMergePatch(patch.OriginalJson, patch.PatchJson, typed)
	if err != nil {
		// Its errors may quote what they do not like.
		return nil, fmt.Errorf("the strategic merge patch for this %s cannot be applied: %s",
			kind, goMap.ReplaceAllString(hideQuoted(firstLine(err.Error())), "(a value)"))
	}
	return patched, nil
}

// How Go prints a map or a list.
var goMap = regexp.MustCompile(`(?:map)?\[.*\]`)
