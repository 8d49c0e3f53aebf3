// SPDX-License-Identifier: Apache-2.0

#include "agent/connection/file_identity_store.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/crypto/private_file.h"
#include "common/status/status_macros.h"
#include "nlohmann/json.hpp"

namespace flotilla::agent {
namespace {

using nlohmann::json;

struct Field {
  const char* name;
  std::string AgentIdentity::*member;
};

constexpr Field kFields[] = {
    {"key", &AgentIdentity::key},
    {"certificate", &AgentIdentity::certificate},
    {"ca", &AgentIdentity::ca},
    {"clusterId", &AgentIdentity::cluster_id},
    {"tokenId", &AgentIdentity::token_id},
    {"pendingKey", &AgentIdentity::pending_key},
    {"pendingTokenId", &AgentIdentity::pending_token_id},
};

std::string PathIn(const std::string& folder) {
  return absl::StrCat(folder, "/identity.json");
}

absl::StatusOr<AgentIdentity> Read(const std::string& path) {
  absl::StatusOr<std::string> text = ReadPrivateFile(path);
  if (absl::IsNotFound(text.status())) return AgentIdentity();
  RETURN_IF_ERROR(text.status());
  const absl::Status damaged = absl::DataLossError(absl::StrCat(
      path,
      " is damaged: put it back from a backup, or remove it and enrol this "
      "cluster again with a new token"));
  const json document = json::parse(*text, nullptr, false);
  if (!document.is_object()) return damaged;
  const auto string_of = [&document](const char* name) -> std::string {
    const auto it = document.find(name);
    if (it == document.end() || !it->is_string()) return "";
    return it->get<std::string>();
  };
  AgentIdentity identity;
  identity.instance_id = absl::HexStringToBytes(string_of("instanceId"));
  for (const Field& field : kFields) {
    identity.*field.member = string_of(field.name);
  }
  return identity;
}

absl::Status Write(const std::string& folder, const AgentIdentity& identity) {
  json document = json::object();
  document["instanceId"] = absl::BytesToHexString(identity.instance_id);
  for (const Field& field : kFields) {
    if (!(identity.*field.member).empty()) {
      document[field.name] = identity.*field.member;
    }
  }
  RETURN_IF_ERROR(MakePrivateFolder(folder));
  return WritePrivateFile(
      PathIn(folder),
      document.dump(2, ' ', true, json::error_handler_t::replace));
}

}  // namespace

void FileIdentityStore::Load(
    absl::AnyInvocable<void(absl::StatusOr<AgentIdentity>)> done) {
  pool_.Submit<absl::StatusOr<AgentIdentity>>(
      [path = PathIn(folder_)] { return Read(path); }, std::move(done));
}

void FileIdentityStore::Save(AgentIdentity identity,
                             absl::AnyInvocable<void(absl::Status)> done) {
  pool_.Submit<absl::Status>(
      [folder = folder_, identity = std::move(identity)] {
        return Write(folder, identity);
      },
      std::move(done));
}

}  // namespace flotilla::agent
