// SPDX-License-Identifier: Apache-2.0
//
// Reads a GitRepo's specification (spec 1.1). No message quotes a URL: there
// may be a password in it.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_GIT_REPO_FIELDS_H_
#define FLOTILLA_MANAGER_DOCUMENTS_GIT_REPO_FIELDS_H_

#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/field_reader.h"

namespace flotilla::manager {

void ReadGitRepoSpec(FieldReader& spec, storage::v1::GitRepoSpec& result);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_GIT_REPO_FIELDS_H_
