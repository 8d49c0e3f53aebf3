// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/secret_fields.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using nlohmann::json;
using storage::v1::SecretData;
using storage::v1::SecretSpec;

// As Kubernetes limits a Secret.
constexpr size_t kMaxSecretBytes = 1 << 20;

struct SecretShape {
  const char* type;
  std::vector<std::string> required;
};

const std::vector<SecretShape>& SecretShapes() {
  static const auto& shapes = *new std::vector<SecretShape>{
      {"kubernetes.io/basic-auth", {"password"}},
      {"kubernetes.io/ssh-auth", {"ssh-privatekey"}},
  };
  return shapes;
}

// Keys that something here reads.
const std::vector<std::string>& ReadKeys() {
  static const auto& keys = *new std::vector<std::string>{
      // Git.
      "username", "password", "ssh-privatekey", "known_hosts",
      // Charts.
      "cacerts", "insecureSkipVerify", "basicHTTP", "secrets-path.yaml",
      // Webhooks.
      "github", "gitlab", "bitbucket", "bitbucket-server", "gogs",
      "azure-username", "azure-password"};
  return keys;
}

bool IsReadKey(absl::string_view key) {
  return std::find(ReadKeys().begin(), ReadKeys().end(), key) !=
         ReadKeys().end();
}

bool IsDataKey(absl::string_view key) {
  return !key.empty() && key.size() <= 253 && key != "." && key != ".." &&
         std::all_of(key.begin(), key.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
         });
}

void ReadValues(FieldReader& root, std::map<std::string, std::string>& values) {
  if (std::optional<FieldReader> data = root.Object("data");
      data.has_value()) {
    for (const auto& item : root.Value("data")->items()) {
      std::string decoded;
      if (item.value().is_null()) {
        values[item.key()] = "";
      } else if (!item.value().is_string() ||
                 !absl::Base64Unescape(
                     absl::StrReplaceAll(
                         item.value().get_ref<const std::string&>(),
                         {{"\n", ""}, {"\r", ""}}),
                     &decoded)) {
        data->Error(item.key(),
                    "is not valid base64; plain text goes under stringData");
      } else {
        values[item.key()] = std::move(decoded);
      }
    }
  }
  if (std::optional<FieldReader> data = root.Object("stringData");
      data.has_value()) {
    for (const auto& item : root.Value("stringData")->items()) {
      if (item.value().is_null()) {
        values[item.key()] = "";
      } else if (!item.value().is_string()) {
        data->Error(item.key(), "must be a string; write it in quotes");
      } else {
        values[item.key()] = item.value().get<std::string>();
      }
    }
  }
}

void CheckKeys(FieldReader& root,
               const std::map<std::string, std::string>& values) {
  const bool any = std::any_of(values.begin(), values.end(), [](const auto& v) {
    return IsReadKey(v.first);
  });
  for (const auto& [key, value] : values) {
    if (!IsDataKey(key)) {
      root.Error("", absl::StrCat("\"", ShownText(key),
                                  "\" is not a valid key: letters, digits, "
                                  "'-', '_' and '.'"));
    } else if (absl::StartsWith(key, "github_app_")) {
      root.Warning("", absl::StrCat(
                           ShownText(key),
                           " has no effect: GitHub Apps are not signed in as "
                           "yet; give a token as password, or an SSH key"));
    } else if (any && !IsReadKey(key)) {
      const std::string nearest = NearestWord(key, ReadKeys());
      root.Warning("", absl::StrCat("key \"", ShownText(key),
                                    "\" has no effect",
                                    nearest.empty()
                                        ? ""
                                        : absl::StrCat("; did you mean \"",
                                                       nearest, "\"?")));
    }
  }
  if (!any && !values.empty()) {
    root.Warning("", "holds no key that is read here, so it is kept and used "
                     "by nothing; known are the keys of credentials for Git "
                     "and charts, and of webhooks");
  }
}

}  // namespace

void ReadSecret(FieldReader& root, SecretSpec& secret, SecretData& data) {
  std::string type = root.String("type");
  if (type.empty()) type = "Opaque";
  secret.set_type(type);
  root.Ignored({"immutable"});
  std::map<std::string, std::string> values;
  ReadValues(root, values);

  const auto shape =
      std::find_if(SecretShapes().begin(), SecretShapes().end(),
                   [&type](const SecretShape& s) { return type == s.type; });
  if (shape != SecretShapes().end()) {
    for (const std::string& key : shape->required) {
      const auto it = values.find(key);
      if (it == values.end() || it->second.empty()) {
        root.Error("", absl::StrCat("a Secret of type ", type,
                                    " needs the key ", key));
      }
    }
  }
  CheckKeys(root, values);
  size_t total = 0;
  for (auto& [key, value] : values) {
    total += key.size() + value.size();
    if (value.empty()) continue;
    storage::v1::SecretEntry& entry = *data.add_entries();
    entry.set_key(key);
    entry.set_value(std::move(value));
  }
  if (total > kMaxSecretBytes) {
    root.Error("", absl::StrCat("has more than ", kMaxSecretBytes, " bytes"));
  }
}

}  // namespace flotilla::manager
