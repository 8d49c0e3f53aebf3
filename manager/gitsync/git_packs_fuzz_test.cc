// SPDX-License-Identifier: Apache-2.0
//
// Any pack, as a hostile server may send it: what is fuzzed is the entries, put
// together here with a header and a checksum that hold. A line begins an entry,
// and the lines up to the next one are its bytes:
//
//   @b [SIZE]   a blob; @t a tree, @c a commit, @g a tag. SIZE is what the
//               entry says of itself, else that of the bytes
//   @o N [SIZE] a delta against the entry N before it
//   @r N [SIZE] a delta against the id of the Nth object that is no delta
//   @x          bytes as they are
//   @n N        the header says that there are N entries
//
// Whatever it is: it is taken or refused, in bounded time and memory, and what
// was taken can be read or says why not.

#include <git2.h>
#include <git2/sys/odb_backend.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/crypto/sha1.h"
#include "manager/gitsync/libgit2_handles.h"
#include "manager/gitsync/libgit2_library.h"

namespace {

using flotilla::manager::GitDeleter;
using flotilla::manager::OdbPtr;
using IndexerPtr = std::unique_ptr<git_indexer, GitDeleter<git_indexer_free>>;

// Above all that libgit2 may hold of one object, and of its deltas.
constexpr int64_t kMaxMemoryKib = int64_t{2} << 20;
constexpr size_t kMaxEntries = 2000;

void Check(bool condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "fuzz: %s\n", what);
  abort();
}

void PutNumber(uint32_t number, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(number >> shift));
  }
}

// Deflated without compression: what is under test is not zlib.
std::string Deflated(absl::string_view bytes) {
  std::string out = "\x78\x01";
  uint32_t a = 1;
  uint32_t b = 0;
  for (const char c : bytes) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  do {
    const absl::string_view block = bytes.substr(0, 0xffff);
    bytes.remove_prefix(block.size());
    const auto size = static_cast<uint32_t>(block.size());
    out.push_back(bytes.empty() ? 1 : 0);
    for (const uint32_t field : {size, ~size}) {
      out.push_back(static_cast<char>(field));
      out.push_back(static_cast<char>(field >> 8));
    }
    out.append(block.data(), block.size());
  } while (!bytes.empty());
  PutNumber(b << 16 | a, out);
  return out;
}

// Type and size, as an entry begins.
std::string EntryHeader(int type, uint64_t size) {
  std::string out;
  auto byte = static_cast<unsigned char>(type << 4 | (size & 15));
  for (size >>= 4; size > 0; size >>= 7) {
    out.push_back(static_cast<char>(byte | 0x80));
    byte = size & 0x7f;
  }
  out.push_back(static_cast<char>(byte));
  return out;
}

std::string Offset(uint64_t distance) {
  std::string out(1, static_cast<char>(distance & 0x7f));
  while (distance >>= 7) {
    out.insert(out.begin(), static_cast<char>(0x80 | (--distance & 0x7f)));
  }
  return out;
}

class PackText {
 public:
  explicit PackText(absl::string_view input) {
    for (const absl::string_view line : absl::StrSplit(input, '\n')) {
      if (line.size() >= 2 && line[0] == '@' &&
          absl::StrContains("btcgorxn", line.substr(1, 1)) &&
          (line.size() == 2 || line[2] == ' ')) {
        Finish();
        head_ = std::string(line);
        bytes_.clear();
        begun_ = false;
        continue;
      }
      if (begun_) bytes_.push_back('\n');
      begun_ = true;
      bytes_.append(line.data(), line.size());
    }
    Finish();
  }

  std::string Pack() const {
    std::string pack = "PACK";
    PutNumber(2, pack);
    PutNumber(count_.value_or(static_cast<uint32_t>(places_.size())), pack);
    pack += entries_;
    return pack + flotilla::Sha1(pack);
  }

 private:
  void Finish() {
    if (head_.empty() || places_.size() == kMaxEntries) return;
    const std::vector<std::string> words = absl::StrSplit(head_, ' ');
    const char kind = head_[1];
    const auto number = [&words](size_t i) -> std::optional<uint64_t> {
      uint64_t value = 0;
      if (i >= words.size() || !absl::SimpleAtoi(words[i], &value)) {
        return std::nullopt;
      }
      return value;
    };
    if (kind == 'n') {
      count_ = static_cast<uint32_t>(number(1).value_or(0));
      return;
    }
    const size_t place = entries_.size();
    const bool is_delta = kind == 'o' || kind == 'r';
    const uint64_t size = number(is_delta ? 2 : 1).value_or(bytes_.size());
    const uint64_t base = number(1).value_or(0);
    switch (kind) {
      case 'x':
        entries_ += bytes_;
        break;
      case 'o': {
        const bool known = base <= places_.size() && base > 0;
        entries_ += EntryHeader(GIT_OBJECT_OFS_DELTA, size);
        entries_ += Offset(known ? place - places_[places_.size() - base]
                                 : base);
        entries_ += Deflated(bytes_);
        break;
      }
      case 'r':
        entries_ += EntryHeader(GIT_OBJECT_REF_DELTA, size);
        entries_ += base < ids_.size() ? ids_[base] : std::string(20, '\0');
        entries_ += Deflated(bytes_);
        break;
      default: {
        const git_object_t type = kind == 'b'   ? GIT_OBJECT_BLOB
                                  : kind == 't' ? GIT_OBJECT_TREE
                                  : kind == 'c' ? GIT_OBJECT_COMMIT
                                                : GIT_OBJECT_TAG;
        entries_ += EntryHeader(type, size) + Deflated(bytes_);
        git_oid id;
        if (git_odb_hash(&id, bytes_.data(), bytes_.size(), type) == 0) {
          ids_.emplace_back(reinterpret_cast<const char*>(id.id),
                            GIT_OID_RAWSZ);
        }
      }
    }
    places_.push_back(place);
  }

  std::string head_;
  std::string bytes_;
  bool begun_ = false;
  std::string entries_;
  std::vector<size_t> places_;
  std::vector<std::string> ids_;
  std::optional<uint32_t> count_;
};

// Reads all that the pack with this index holds.
void ReadAll(const std::string& index) {
  git_odb* raw_odb = nullptr;
  git_odb_backend* backend = nullptr;
  Check(git_odb_new(&raw_odb) == 0, "no object database");
  const OdbPtr odb(raw_odb);
  Check(git_odb_backend_one_pack(&backend, index.c_str()) == 0,
        "the index that was written cannot be opened");
  Check(git_odb_add_backend(odb.get(), backend, 1) == 0, "no backend");
  git_odb_foreach(
      odb.get(),
      [](const git_oid* id, void* payload) {
        git_odb_object* object = nullptr;
        if (git_odb_read(&object, static_cast<git_odb*>(payload), id) == 0) {
          git_odb_object_free(object);
        }
        return 0;
      },
      odb.get());
}

const std::string& Folder() {
  static const std::string* const folder = [] {
    const char* base = std::getenv("TEST_TMPDIR");
    std::string pattern =
        absl::StrCat(base == nullptr ? "/tmp" : base, "/packs-XXXXXX");
    Check(::mkdtemp(pattern.data()) != nullptr, "no folder");
    return new std::string(pattern);
  }();
  return *folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Check(flotilla::manager::InitLibgit2().ok(), "no libgit2");
  const std::string pack =
      PackText(absl::string_view(reinterpret_cast<const char*>(data), size))
          .Pack();
  git_indexer* raw = nullptr;
  Check(git_indexer_new(&raw, Folder().c_str(), 0600, nullptr, nullptr) == 0,
        "no indexer");
  IndexerPtr indexer(raw);
  git_indexer_progress progress = {};
  const bool taken =
      git_indexer_append(indexer.get(), pack.data(), pack.size(), &progress) ==
          0 &&
      git_indexer_commit(indexer.get(), &progress) == 0;
  if (taken) {
    ReadAll(absl::StrCat(Folder(), "/pack-", git_indexer_name(indexer.get()),
                         ".idx"));
  }
  indexer.reset();
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(Folder(), ignored)) {
    std::filesystem::remove(entry.path(), ignored);
  }
  rusage used = {};
  getrusage(RUSAGE_SELF, &used);
  Check(used.ru_maxrss < kMaxMemoryKib, "too much memory");
  return 0;
}
