// SPDX-License-Identifier: Apache-2.0

#include "common/kube/kube_url.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "common/kube/kube_error.h"
#include "common/kube/object.h"

namespace flotilla {
namespace {

// Percent-encodes all but unreserved characters.
std::string Encode(absl::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '-' || c == '.' || c == '_' ||
        c == '~') {
      encoded.push_back(c);
    } else {
      encoded.push_back('%');
      encoded.push_back(kHex[byte >> 4]);
      encoded.push_back(kHex[byte & 0xf]);
    }
  }
  return encoded;
}

// "." and ".." would change the path, "/" too.
bool IsPathSegment(absl::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         text.find_first_of("/%") == absl::string_view::npos;
}

std::string KindText(absl::string_view group, absl::string_view version,
                     absl::string_view kind) {
  if (group.empty() && version.empty()) return std::string(kind);
  if (version.empty()) return absl::StrCat(kind, " of ", group);
  return absl::StrCat(kind, " of ", JoinApiVersion(group, version));
}

absl::Status UnknownKind(absl::string_view group, absl::string_view version,
                         absl::string_view kind) {
  KubeError error;
  error.http_code = 404;
  error.reason = "NotFound";
  error.missing = KubeError::Missing::kKind;
  error.message = absl::StrCat("the cluster does not know the kind ",
                               KindText(group, version, kind),
                               "; a CustomResourceDefinition may be missing");
  return ToStatus(error);
}

// Whether the path is that of the Namespace object itself, so that "namespaces
// not found" speaks of it.
bool IsAboutNamespace(absl::string_view target) {
  static constexpr absl::string_view kPrefix = "/api/v1/namespaces/";
  if (!absl::StartsWith(target, kPrefix)) return false;
  target = target.substr(0, target.find('?'));
  return target.find('/', kPrefix.size()) == absl::string_view::npos;
}

}  // namespace

absl::StatusOr<std::string> KubePath(const Discovery& discovery,
                                     const KubePlace& place) {
  const auto& [group, version, kind, ns, name, collection] = place;
  const ServedKind* const served = discovery.Find(group, version, kind);
  if (served == nullptr) {
    if (discovery.IsStale(group)) {
      return absl::UnavailableError(
          absl::StrCat("the server behind the API group ", group,
                       " does not answer, so the kind ",
                       KindText(group, version, kind), " is not known now"));
    }
    return UnknownKind(group, version, kind);
  }
  std::string path = group.empty() ? absl::StrCat("/api/", served->version)
                                   : absl::StrCat("/apis/", served->group, "/",
                                                  served->version);
  if (served->namespaced) {
    if (ns.empty() && !collection) {
      return absl::InvalidArgumentError(
          absl::StrCat(kind, " \"", name, "\" needs a namespace"));
    }
    if (!ns.empty()) {
      if (!IsPathSegment(ns)) {
        return absl::InvalidArgumentError("the namespace is no valid name");
      }
      absl::StrAppend(&path, "/namespaces/", Encode(ns));
    }
  } else if (!ns.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kind, " \"", name,
                     "\" is cluster-scoped and must not "
                     "name a namespace"));
  }
  absl::StrAppend(&path, "/", served->plural);
  if (!collection) {
    if (!IsPathSegment(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the name of the ", kind, " is no valid name"));
    }
    // Names of RBAC objects hold colons: encoded.
    absl::StrAppend(&path, "/", Encode(name));
  }
  return path;
}

void AddParameter(absl::string_view name, absl::string_view value,
                  std::string* target) {
  absl::StrAppend(target, target->find('?') == std::string::npos ? "?" : "&",
                  name, "=", Encode(value));
}

absl::Status KubeAnswerError(int code, const std::string& retry_after,
                             const std::string& body,
                             absl::string_view target) {
  KubeError error = ParseKubeError(code, retry_after, body);
  if (error.missing == KubeError::Missing::kNamespace &&
      IsAboutNamespace(target)) {
    error.missing = KubeError::Missing::kObject;
  }
  return ToStatus(error);
}

}  // namespace flotilla
