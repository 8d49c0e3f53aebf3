// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/commit_tree.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/status/status_macros.h"

namespace flotilla::manager {
namespace {

constexpr size_t kMaxLink = 4096;
constexpr size_t kMaxTreeEntries = 100'000;

}  // namespace

CommitTree::CommitTree(std::shared_ptr<void> keep, absl::Mutex& lock,
                       std::atomic<bool>& damaged, RepositoryPtr repository,
                       const git_oid& root)
    : keep_(std::move(keep)), mu_(lock), damaged_(damaged),
      repository_(std::move(repository)), root_(root) {}

absl::StatusOr<std::vector<FileTree::RawEntry>> CommitTree::ReadDirectory(
    const std::string& directory) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const TreePtr tree, LookupDirectory(directory));
  const size_t count = git_tree_entrycount(tree.get());
  if (count > kMaxTreeEntries) {
    return absl::ResourceExhaustedError(
        absl::StrCat("directory \"", directory, "\" has ", count,
                     " entries; at most ", kMaxTreeEntries, " are allowed"));
  }
  git_odb* raw_odb = nullptr;
  int code = git_repository_odb(&raw_odb, repository_.get());
  if (code != 0) return Damage(LastGitError(code), directory);
  const OdbPtr odb(raw_odb);
  std::vector<RawEntry> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const git_tree_entry* entry = git_tree_entry_byindex(tree.get(), i);
    RawEntry raw;
    raw.name = git_tree_entry_name(entry);
    const git_oid* entry_id = git_tree_entry_id(entry);
    switch (git_tree_entry_filemode(entry)) {
      case GIT_FILEMODE_TREE:
        raw.kind = RawEntry::Kind::kDirectory;
        break;
      case GIT_FILEMODE_BLOB_EXECUTABLE:
        raw.executable = true;
        [[fallthrough]];
      case GIT_FILEMODE_BLOB: {
        raw.kind = RawEntry::Kind::kFile;
        git_object_t type = GIT_OBJECT_INVALID;
        size_t size = 0;
        code = git_odb_read_header(&size, &type, odb.get(), entry_id);
        if (code != 0 || type != GIT_OBJECT_BLOB) {
          return Damage(LastGitError(code), directory);
        }
        raw.size = size;
        raw.blob_id = HexOf(entry_id);
        break;
      }
      case GIT_FILEMODE_LINK:
        raw.kind = RawEntry::Kind::kLink;
        break;
      case GIT_FILEMODE_COMMIT:
        raw.kind = LookupSubmodule(*entry_id) == nullptr
                       ? RawEntry::Kind::kSubmodule
                       : RawEntry::Kind::kDirectory;
        break;
      default:
        raw.kind = RawEntry::Kind::kOther;
        break;
    }
    out.push_back(std::move(raw));
  }
  return out;
}

absl::StatusOr<std::string> CommitTree::ReadFile(const std::string& path,
                                                 uint64_t max_bytes) {
  absl::MutexLock lock(&mu_);
  const size_t slash = path.rfind('/');
  const bool in_root = slash == std::string::npos;
  ASSIGN_OR_RETURN(
      const TreePtr tree,
      LookupDirectory(in_root ? "" : absl::string_view(path).substr(0, slash)));
  const git_tree_entry* entry = git_tree_entry_byname(
      tree.get(), path.c_str() + (in_root ? 0 : slash + 1));
  if (entry == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no file \"", path, "\""));
  }
  git_blob* raw_blob = nullptr;
  const int code = git_blob_lookup(&raw_blob, repository_.get(),
                                   git_tree_entry_id(entry));
  const BlobPtr blob(raw_blob);
  if (code != 0) return Damage(LastGitError(code), path);
  const auto size = static_cast<uint64_t>(git_blob_rawsize(blob.get()));
  if (size > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("file \"", path, "\" has ", size, " bytes; at most ",
                     max_bytes, " are allowed"));
  }
  return std::string(static_cast<const char*>(git_blob_rawcontent(blob.get())),
                     size);
}

absl::StatusOr<std::string> CommitTree::ReadLink(const std::string& path) {
  auto text = ReadFile(path, kMaxLink);
  // Too long to be one: FileTree says that it leads nowhere.
  if (absl::IsResourceExhausted(text.status())) return std::string();
  return text;
}

absl::StatusOr<TreePtr> CommitTree::Lookup(const git_oid& id,
                                           absl::string_view path) {
  git_tree* raw = nullptr;
  const int code = git_tree_lookup(&raw, repository_.get(), &id);
  if (code != 0) return Damage(LastGitError(code), path);
  return TreePtr(raw);
}

absl::StatusOr<TreePtr> CommitTree::LookupDirectory(
    absl::string_view directory) {
  ASSIGN_OR_RETURN(TreePtr tree, Lookup(root_, directory));
  for (const absl::string_view part :
       absl::StrSplit(directory, '/', absl::SkipEmpty())) {
    const git_tree_entry* entry =
        git_tree_entry_byname(tree.get(), std::string(part).c_str());
    TreePtr next;
    if (entry != nullptr && git_tree_entry_type(entry) == GIT_OBJECT_TREE) {
      ASSIGN_OR_RETURN(next, Lookup(*git_tree_entry_id(entry), directory));
    } else if (entry != nullptr &&
               git_tree_entry_type(entry) == GIT_OBJECT_COMMIT) {
      next = LookupSubmodule(*git_tree_entry_id(entry));
    }
    if (next == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("there is no directory \"", directory, "\""));
    }
    tree = std::move(next);
  }
  return tree;
}

TreePtr CommitTree::LookupSubmodule(const git_oid& id) {
  git_commit* raw_commit = nullptr;
  if (git_commit_lookup(&raw_commit, repository_.get(), &id) != 0) {
    return nullptr;
  }
  const CommitPtr commit(raw_commit);
  git_tree* raw = nullptr;
  if (git_commit_tree(&raw, commit.get()) != 0) return nullptr;
  return TreePtr(raw);
}

absl::Status CommitTree::Damage(const GitError& error, absl::string_view path) {
  absl::Status status =
      DiskError(error, absl::StrCat("reading \"", path, "\""));
  if (absl::IsDataLoss(status)) damaged_ = true;
  return status;
}

}  // namespace flotilla::manager
