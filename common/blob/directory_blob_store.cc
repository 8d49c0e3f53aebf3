// SPDX-License-Identifier: Apache-2.0

#include "common/blob/directory_blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_set.h"
#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/blob/digest.h"
#include "common/crypto/private_file.h"
#include "common/log/log.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

constexpr absl::string_view kSealedEnding = ".sealed";
constexpr absl::string_view kOwnerFile = "/owner";
// Bytes that are sealed at a time when a store of an earlier version is opened.
constexpr size_t kSealAtOnce = 16 << 20;

// So many files are held open and synced one by one; for more, the file system
// is synced as a whole: one wait for the disk in place of thousands.
constexpr size_t kMaxSyncedFiles = 64;

// No object of a cluster comes near it; a file that does is not ours.
constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

absl::Status FileError(int error, absl::string_view doing,
                       absl::string_view path) {
  absl::string_view hint;
  if (error == ENOSPC || error == EDQUOT) {
    hint = "; free some space, nothing was lost";
  } else if (error == EACCES || error == EPERM || error == EROFS) {
    hint = "; make the folder writable for this user, or choose another with "
           "--data-dir";
  } else if (error == EIO) {
    hint = "; look at the disk, nothing was removed";
  }
  const absl::Status plain =
      absl::ErrnoToStatus(error, absl::StrCat(doing, " ", path));
  absl::StatusCode code = plain.code();
  if (error == EROFS) code = absl::StatusCode::kPermissionDenied;
  if (error == EDQUOT) code = absl::StatusCode::kResourceExhausted;
  if (error == EIO) code = absl::StatusCode::kUnavailable;
  return absl::Status(code, absl::StrCat(plain.message(), hint));
}

absl::Status MakeDirectory(const std::string& path, bool* made = nullptr) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    if (made != nullptr) *made = true;
    return absl::OkStatus();
  }
  if (errno == EEXIST) return absl::OkStatus();
  return FileError(errno, "making the folder", path);
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileError(errno, "opening the folder", path);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0) return FileError(error, "syncing the folder", path);
  return absl::OkStatus();
}

// Makes a file system durable as a whole. It tells of writes that failed since
// it was made (syncfs(2)).
class FileSystemSync {
 public:
  explicit FileSystemSync(const std::string& path)
      : path_(path),
        fd_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}
  FileSystemSync(const FileSystemSync&) = delete;
  FileSystemSync& operator=(const FileSystemSync&) = delete;
  ~FileSystemSync() {
    if (fd_ >= 0) ::close(fd_);
  }

  absl::Status Sync() const {
    if (::syncfs(fd_) == 0) return absl::OkStatus();
    return FileError(errno, "syncing the file system of", path_);
  }

 private:
  const std::string path_;
  const int fd_;
};

absl::StatusOr<std::vector<std::string>> Names(const std::string& path) {
  DIR* const directory = ::opendir(path.c_str());
  if (directory == nullptr) {
    return FileError(errno, "reading the folder", path);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  return names;
}

absl::Status WriteAll(int fd, absl::string_view bytes,
                      const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(errno, "writing", path);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(errno, "opening", path);
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat info;
  if (::fstat(fd, &info) != 0) return FileError(errno, "reading", path);
  if (!S_ISREG(info.st_mode) || info.st_size > kMaxFileBytes) {
    return absl::DataLossError(absl::StrCat(path, " is not a blob of ours"));
  }
  // One more: where a file ends is what read(2) says.
  std::string bytes(static_cast<size_t>(info.st_size) + 1, '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t n =
        ::read(fd, bytes.data() + filled, bytes.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(errno, "reading", path);
    if (n == 0) break;
    filled += static_cast<size_t>(n);
  }
  bytes.resize(filled);
  return bytes;
}

bool Exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DirectoryBlobStore>> DirectoryBlobStore::Open(
    std::string root, SealedBox& box) {
  RETURN_IF_ERROR(MakeDirectory(root));
  const std::string temporary = absl::StrCat(root, "/tmp");
  bool made = false;
  RETURN_IF_ERROR(MakeDirectory(temporary, &made));
  for (int shard = 0; shard < 256; ++shard) {
    char name[4];
    std::snprintf(name, sizeof(name), "/%02x", shard);
    RETURN_IF_ERROR(MakeDirectory(root + name, &made));
  }
  if (made) RETURN_IF_ERROR(SyncDirectory(root));
  ASSIGN_OR_RETURN(const std::vector<std::string> leftovers,
                   Names(temporary));
  for (const std::string& name : leftovers) {
    const std::string path = absl::StrCat(temporary, "/", name);
    if (::unlink(path.c_str()) != 0) {
      return FileError(errno, "removing", path);
    }
  }
  auto store = absl::WrapUnique(new DirectoryBlobStore(std::move(root), box));
  RETURN_IF_ERROR(store->SealWhatIsPlain());
  return store;
}

DirectoryBlobStore::DirectoryBlobStore(std::string root, SealedBox& box)
    : root_(std::move(root)), box_(box) {}

absl::Status DirectoryBlobStore::SealWhatIsPlain() {
  ASSIGN_OR_RETURN(const std::vector<std::string> shards, Names(root_));
  for (const std::string& shard : shards) {
    if (shard.size() != 2) continue;
    RETURN_IF_ERROR(SealWhatIsPlain(absl::StrCat(root_, "/", shard)));
  }
  return absl::OkStatus();
}

absl::Status DirectoryBlobStore::SealWhatIsPlain(const std::string& shard) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(shard));
  std::vector<std::string> paths;
  std::vector<std::string> blobs;
  size_t bytes = 0;
  const auto flush = [&]() -> absl::Status {
    if (paths.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(PutAll(blobs).status());
    for (const std::string& path : paths) {
      if (::unlink(path.c_str()) != 0) {
        return FileError(errno, "removing", path);
      }
    }
    paths.clear();
    blobs.clear();
    bytes = 0;
    return absl::OkStatus();
  };
  for (const std::string& name : names) {
    const absl::StatusOr<std::string> digest = DigestFromHex(name);
    if (!digest.ok()) continue;
    const std::string path = absl::StrCat(shard, "/", name);
    absl::StatusOr<std::string> plain = ReadAll(path);
    if (absl::IsDataLoss(plain.status()) ||
        absl::IsUnavailable(plain.status())) {
      FLOTILLA_LOG(WARNING) << "a blob from an earlier version stays as it is: "
                            << plain.status().message();
      continue;
    }
    if (!plain.ok()) return plain.status();
    paths.push_back(path);
    if (DigestOf(*plain) == *digest) {
      bytes += plain->size();
      blobs.push_back(*std::move(plain));
    }
    if (bytes >= kSealAtOnce) RETURN_IF_ERROR(flush());
  }
  return flush();
}

absl::StatusOr<std::vector<std::string>> DirectoryBlobStore::PutAll(
    const std::vector<std::string>& blobs) {
  std::vector<std::string> digests;
  digests.reserve(blobs.size());
  for (const std::string& bytes : blobs) digests.push_back(DigestOf(bytes));

  absl::MutexLock lock(&mu_);
  std::vector<Pending> pending;
  const absl::Cleanup discard = [&pending] {
    for (const Pending& file : pending) {
      if (file.fd >= 0) ::close(file.fd);
      if (!file.temporary.empty()) ::unlink(file.temporary.c_str());
    }
  };
  std::vector<size_t> fresh;
  absl::flat_hash_set<std::string> seen;
  for (size_t i = 0; i < blobs.size(); ++i) {
    unnamed_.erase(digests[i]);
    if (!seen.insert(digests[i]).second) continue;
    if (Exists(Path(digests[i])) && !IsUnreadable(digests[i])) continue;
    fresh.push_back(i);
  }
  const bool many = fresh.size() > kMaxSyncedFiles;
  std::optional<FileSystemSync> whole;
  if (many) whole.emplace(root_);
  for (const size_t i : fresh) {
    ASSIGN_OR_RETURN(Pending file, WriteAside(digests[i], blobs[i]));
    if (many) {
      ::close(std::exchange(file.fd, -1));
    } else {
      // Lets the disk begin before the round of syncs.
      ::sync_file_range(file.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    pending.push_back(std::move(file));
  }
  if (many) {
    RETURN_IF_ERROR(whole->Sync());
  } else {
    RETURN_IF_ERROR(SyncEach(pending));
  }
  ASSIGN_OR_RETURN(const absl::flat_hash_set<std::string> shards,
                   Rename(pending));
  {
    absl::MutexLock readable(&unreadable_mu_);
    for (const size_t i : fresh) unreadable_.erase(digests[i]);
  }
  if (many) {
    RETURN_IF_ERROR(whole->Sync());
  } else {
    for (const std::string& shard : shards) {
      RETURN_IF_ERROR(SyncDirectory(shard));
    }
  }
  return digests;
}

absl::StatusOr<DirectoryBlobStore::Pending> DirectoryBlobStore::WriteAside(
    absl::string_view digest, absl::string_view bytes) {
  Pending file;
  file.shard = ShardPath(digest);
  file.temporary = absl::StrCat(root_, "/tmp/", next_temporary_++);
  file.path = Path(digest);
  file.fd = ::open(file.temporary.c_str(),
                   O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file.fd < 0) return FileError(errno, "creating", file.temporary);
  const absl::Status written =
      WriteAll(file.fd, box_.Seal(bytes, digest), file.temporary);
  if (!written.ok()) {
    ::close(file.fd);
    ::unlink(file.temporary.c_str());
    return written;
  }
  return file;
}

absl::Status DirectoryBlobStore::SyncEach(std::vector<Pending>& pending) {
  for (Pending& file : pending) {
    const int synced = ::fsync(file.fd);
    const int error = errno;
    ::close(std::exchange(file.fd, -1));
    if (synced != 0) return FileError(error, "syncing", file.temporary);
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::flat_hash_set<std::string>> DirectoryBlobStore::Rename(
    std::vector<Pending>& pending) {
  absl::flat_hash_set<std::string> shards;
  for (Pending& file : pending) {
    if (::rename(file.temporary.c_str(), file.path.c_str()) != 0) {
      return FileError(errno, "renaming", file.temporary);
    }
    file.temporary.clear();
    shards.insert(file.shard);
  }
  return shards;
}

absl::StatusOr<std::string> DirectoryBlobStore::Get(
    absl::string_view digest) const {
  if (!DigestIsValid(digest)) {
    return absl::InvalidArgumentError("a digest has 32 bytes");
  }
  const std::string path = Path(digest);
  absl::StatusOr<std::string> bytes = ReadAll(path);
  if (bytes.ok()) bytes = box_.Open(*bytes, digest);
  if (absl::IsNotFound(bytes.status())) {
    return absl::NotFoundError(
        absl::StrCat("no blob ", DigestToHex(digest), " here"));
  }
  if (absl::IsDataLoss(bytes.status()) ||
      absl::IsUnavailable(bytes.status())) {
    return Unreadable(digest, bytes.status());
  }
  if (bytes.ok() && DigestOf(*bytes) != digest) {
    return Unreadable(digest,
                      absl::DataLossError("its bytes have another digest"));
  }
  return bytes;
}

bool DirectoryBlobStore::Contains(absl::string_view digest) const {
  return DigestIsValid(digest) && Exists(Path(digest)) && !IsUnreadable(digest);
}

absl::Status DirectoryBlobStore::Remove(absl::string_view digest) {
  if (!DigestIsValid(digest)) return absl::OkStatus();
  absl::MutexLock lock(&mu_);
  unnamed_.erase(digest);
  const std::string path = Path(digest);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return FileError(errno, "removing", path);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> DirectoryBlobStore::List() const {
  std::vector<std::string> digests;
  ASSIGN_OR_RETURN(const std::vector<std::string> shards, Names(root_));
  for (const std::string& shard : shards) {
    if (shard.size() != 2) continue;
    ASSIGN_OR_RETURN(const std::vector<std::string> names,
                     Names(absl::StrCat(root_, "/", shard)));
    for (const std::string& name : names) {
      auto digest = DigestFromHex(absl::StripSuffix(name, kSealedEnding));
      if (digest.ok()) digests.push_back(*std::move(digest));
    }
  }
  return digests;
}

bool DirectoryBlobStore::Renew(const std::vector<std::string>& digests) {
  absl::MutexLock lock(&mu_);
  for (const std::string& digest : digests) {
    if (!Contains(digest)) return false;
    unnamed_.erase(digest);
  }
  return true;
}

absl::StatusOr<size_t> DirectoryBlobStore::Sweep(
    const absl::flat_hash_set<std::string>& named) {
  ASSIGN_OR_RETURN(const std::vector<std::string> shards, Names(root_));
  size_t removed = 0;
  for (const std::string& shard : shards) {
    if (shard.size() != 2) continue;
    ASSIGN_OR_RETURN(const size_t here,
                     SweepShard(absl::StrCat(root_, "/", shard), named));
    removed += here;
  }
  return removed;
}

absl::StatusOr<size_t> DirectoryBlobStore::SweepShard(
    const std::string& shard, const absl::flat_hash_set<std::string>& named) {
  // Held for a shard at a time: others put meanwhile.
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(shard));
  size_t removed = 0;
  for (const std::string& name : names) {
    const auto digest = DigestFromHex(absl::StripSuffix(name, kSealedEnding));
    if (!digest.ok()) continue;
    if (named.contains(*digest)) {
      unnamed_.erase(*digest);
      continue;
    }
    if (unnamed_.insert(*digest).second) continue;
    const std::string path = absl::StrCat(shard, "/", name);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
      return FileError(errno, "removing", path);
    }
    unnamed_.erase(*digest);
    ++removed;
  }
  return removed;
}

std::string DirectoryBlobStore::ShardPath(absl::string_view digest) const {
  return absl::StrCat(root_, "/", DigestToHex(digest.substr(0, 1)));
}

std::string DirectoryBlobStore::Path(absl::string_view digest) const {
  return absl::StrCat(ShardPath(digest), "/", DigestToHex(digest),
                      kSealedEnding);
}

absl::StatusOr<std::string> DirectoryBlobStore::Owner() const {
  absl::StatusOr<std::string> owner =
      ReadPrivateFile(absl::StrCat(root_, kOwnerFile));
  if (absl::IsNotFound(owner.status())) return std::string();
  return owner;
}

absl::Status DirectoryBlobStore::Claim(const std::string& owner) {
  return WritePrivateFile(absl::StrCat(root_, kOwnerFile), owner);
}

absl::Status DirectoryBlobStore::Unreadable(absl::string_view digest,
                                            const absl::Status& why) const {
  {
    absl::MutexLock lock(&unreadable_mu_);
    unreadable_.insert(std::string(digest));
  }
  return absl::Status(why.code(),
                      absl::StrCat("blob ", DigestToHex(digest),
                                   " cannot be read (", why.message(),
                                   "): it is replaced when it comes again"));
}

bool DirectoryBlobStore::IsUnreadable(absl::string_view digest) const {
  absl::MutexLock lock(&unreadable_mu_);
  return unreadable_.contains(digest);
}

}  // namespace flotilla
