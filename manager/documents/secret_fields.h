// SPDX-License-Identifier: Apache-2.0
//
// Reads a Secret document (decisions.md 24): credentials for Git and charts,
// secrets of webhooks. Messages name keys alone, never a value.

#ifndef FLOTILLA_MANAGER_DOCUMENTS_SECRET_FIELDS_H_
#define FLOTILLA_MANAGER_DOCUMENTS_SECRET_FIELDS_H_

#include "flotilla/storage/v1/storage.pb.h"
#include "manager/documents/field_reader.h"

namespace flotilla::manager {

// `root` is the whole document. The type goes into `secret`, what is to be
// sealed into `data`.
void ReadSecret(FieldReader& root, storage::v1::SecretSpec& secret,
                storage::v1::SecretData& data);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_DOCUMENTS_SECRET_FIELDS_H_
