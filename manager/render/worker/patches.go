// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
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

// Bytes that the copy operations of a JSON patch may add.
const maxCopiedBytes = 4 << 20

func init() { jsonpatch.AccumulatedCopySizeLimit = maxCopiedBytes }

// applyPatch does a strategic merge on objects of built-in kinds, and a JSON
// merge patch on others; a list is a JSON patch on any.
func applyPatch(patch *renderv1.Patch) ([]byte, error) {
	if nesting(patch.OriginalJson) > maxObjectNesting || nesting(patch.PatchJson) > maxObjectNesting {
		return nil, fmt.Errorf("the object or its patch is nested deeper than %d", maxObjectNesting)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(patch.OriginalJson, &object); err != nil || object == nil {
		return nil, errors.New("what is to be patched is no object")
	}
	if bytes.HasPrefix(bytes.TrimSpace(patch.PatchJson), []byte("[")) {
		return applyOperations(patch)
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

func applyOperations(patch *renderv1.Patch) ([]byte, error) {
	operations, err := jsonpatch.DecodePatch(patch.PatchJson)
	if err != nil {
		return nil, errors.New("the patch is no list of operations of a JSON patch")
	}
	patched := patch.OriginalJson
	for i, operation := range operations {
		// One at a time, so that the error says which.
		patched, err = jsonpatch.Patch{operation}.Apply(patched)
		if err != nil {
			path, _ := operation.Path()
			return nil, fmt.Errorf("operation %d of the JSON patch (%s %s) cannot be applied: %s",
				i+1, operation.Kind(), path, hideQuoted(firstLine(err.Error())))
		}
	}
	return patched, nil
}

// How Go prints a map or a list.
var goMap = regexp.MustCompile(`(?:map)?\[.*\]`)
