// SPDX-License-Identifier: Apache-2.0

#include "manager/bundle/bundle_file_reader.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "manager/bundle/directory_entries.h"
#include "manager/gitsync/tree_path.h"

namespace flotilla::manager {

absl::StatusOr<std::string> BundleFileReader::Read(const std::string& path) {
  // Over the limit nothing more is read.
  if (read_bytes_ <= limits_.max_read_bytes) {
    absl::StatusOr<std::string> bytes =
        tree_.Read(path, limits_.max_file_bytes);
    if (!bytes.ok()) return bytes;
    read_bytes_ += bytes->size();
    if (read_bytes_ <= limits_.max_read_bytes) return bytes;
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "the GitRepo's bundles have more than ", limits_.max_read_bytes,
      " bytes together; split it by its paths"));
}

bool BundleFileReader::AddFile(const TreeEntry& entry, const std::string& name,
                               std::vector<ContentFile>& files,
                               ProblemSink& problems) {
  absl::StatusOr<std::string> bytes = Read(entry.path);
  if (!bytes.ok()) {
    problems.Error(bytes.status(), entry.path);
    return false;
  }
  ContentFile& file = files.emplace_back();
  file.name = name;
  file.size = bytes->size();
  file.bytes = *std::move(bytes);
  return true;
}

void BundleFileReader::NoteRead(const std::string& path,
                                BundleContent& content) {
  if (IsWithin(content.directory, path)) return;
  content.outside.emplace_back(path, Fingerprint(path));
}

bool BundleFileReader::Fits(size_t files, uint64_t bytes,
                            const std::string& directory,
                            ProblemSink& problems) const {
  if (files < limits_.max_bundle_files && bytes <= limits_.max_bundle_bytes) {
    return true;
  }
  problems.Error("RESOURCE_EXHAUSTED", directory, 0,
                 absl::StrCat("a bundle has at most ", limits_.max_bundle_files,
                              " files and ", limits_.max_bundle_bytes,
                              " bytes; split the directory, or leave files out "
                              "with .fleetignore"));
  return false;
}

bool BundleFileReader::IsCurrent(const BundleContent& content,
                                 const std::string& fingerprint) {
  if (fingerprint.empty() || content.fingerprint != fingerprint) return false;
  for (const auto& [path, print] : content.outside) {
    if (print.empty() || Fingerprint(path) != print) return false;
  }
  return true;
}

std::string BundleFileReader::Fingerprint(const std::string& path) {
  const auto known = fingerprints_.find(path);
  if (known != fingerprints_.end()) return known->second;
  std::string& print = fingerprints_[path];
  absl::StatusOr<TreeEntry> entry = tree_.Stat(path);
  if (!entry.ok()) return print;
  if (entry->kind == TreeEntry::Kind::kFile) return print = entry->blob_id;
  if (entry->kind != TreeEntry::Kind::kDirectory) return print;
  absl::StatusOr<std::vector<TreeEntry>> walked = tree_.Walk(path);
  if (!walked.ok()) return print;
  return print = FingerprintOf(EntriesBelow(path, *walked));
}

bool CheckReadable(const TreeEntry& entry, ProblemSink& problems) {
  switch (entry.kind) {
    case TreeEntry::Kind::kFile:
      return true;
    case TreeEntry::Kind::kBrokenLink:
      problems.Error(
          "INVALID_ARGUMENT", entry.path, 0,
          absl::StrCat("is a symbolic link that cannot be followed: ",
                       entry.problem));
      return false;
    case TreeEntry::Kind::kSubmodule:
      problems.Error(
          "UNIMPLEMENTED", entry.path, 0,
          "is a submodule; submodules are not fetched. Leave it out with "
          ".fleetignore, or make a GitRepo for its repository");
      return false;
    default:
      problems.Error("INVALID_ARGUMENT", entry.path, 0, entry.problem);
      return false;
  }
}

}  // namespace flotilla::manager
