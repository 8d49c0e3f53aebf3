// SPDX-License-Identifier: Apache-2.0

#include "common/crypto/sealed_box.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kNonceBytes = 12;
constexpr size_t kNoncePrefixBytes = kNonceBytes - sizeof(uint64_t);
constexpr size_t kTagBytes = 16;
constexpr char kVersion = 1;

using CipherContext =
    std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* Unsigned(absl::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* Unsigned(char* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}

absl::StatusOr<std::string> ReadKey(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("opening key file ", path));
  }
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("reading key file ", path));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("key file ", path,
                     " can be read by others: run chmod 600 on it, and take "
                     "what it sealed for known"));
  }
  std::string key(kKeyBytes + 1, '\0');
  const ssize_t n = ::read(fd, key.data(), key.size());
  if (n != static_cast<ssize_t>(kKeyBytes)) {
    return absl::DataLossError(
        absl::StrCat("key file ", path, " is not a key of ", kKeyBytes,
                     " bytes: restore it from its backup"));
  }
  key.resize(kKeyBytes);
  return key;
}

// Written aside and linked into place, so that a crash leaves no half key and
// two processes cannot both win.
absl::Status WriteKey(const std::string& path, absl::string_view key) {
  const std::string aside = absl::StrCat(path, ".", ::getpid(), ".new");
  ::unlink(aside.c_str());
  const int fd =
      ::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("making key file ", path));
  }
  const bool written =
      ::write(fd, key.data(), key.size()) == static_cast<ssize_t>(key.size()) &&
      ::fsync(fd) == 0;
  int error = errno;
  ::close(fd);
  bool linked = false;
  if (written) {
    linked = ::link(aside.c_str(), path.c_str()) == 0 || errno == EEXIST;
    error = errno;
  }
  ::unlink(aside.c_str());
  if (!linked) {
    return absl::ErrnoToStatus(error, absl::StrCat("making key file ", path));
  }
  const size_t slash = path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int directory =
      ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = directory >= 0 && ::fsync(directory) == 0;
  error = errno;
  if (directory >= 0) ::close(directory);
  if (!synced) {
    return absl::ErrnoToStatus(error, absl::StrCat("syncing ", folder));
  }
  return absl::OkStatus();
}

// OpenSSL fails here only for want of memory or by a bug of ours, and going on
// would write a secret in the clear.
void Must(bool ok) {
  if (ok) return;
  std::fprintf(stderr, "AES-256-GCM failed\n");
  std::abort();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SealedBox>> SealedBox::Create(
    const std::string& key_file, Random& random,
    const std::vector<std::string>& sealed) {
  absl::StatusOr<std::string> key = ReadKey(key_file);
  if (absl::IsNotFound(key.status())) {
    for (const std::string& path : sealed) {
      if (::access(path.c_str(), F_OK) != 0) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          "key file ", key_file, " is missing, and ", path,
          " was sealed with it: restore it from its backup (mode 0600). A new "
          "key cannot open what is there; to begin anew, move it all away"));
    }
    RETURN_IF_ERROR(WriteKey(key_file, random.Bytes(kKeyBytes)));
    key = ReadKey(key_file);
  }
  RETURN_IF_ERROR(key.status());
  return absl::WrapUnique(new SealedBox(key_file, *std::move(key), random));
}

SealedBox::SealedBox(std::string key_file, std::string key, Random& random)
    : key_file_(std::move(key_file)),
      nonce_prefix_(random.Bytes(kNoncePrefixBytes)), key_(std::move(key)) {
  uint64_t first = 0;
  std::memcpy(&first, random.Bytes(sizeof(first)).data(), sizeof(first));
  next_nonce_ = first;
}

SealedBox::~SealedBox() { OPENSSL_cleanse(key_.data(), key_.size()); }

std::string SealedBox::NextNonce() const {
  const uint64_t count = next_nonce_.fetch_add(1, std::memory_order_relaxed);
  std::string nonce = nonce_prefix_;
  nonce.append(reinterpret_cast<const char*>(&count), sizeof(count));
  return nonce;
}

std::string SealedBox::Seal(absl::string_view plain,
                            absl::string_view context) const {
  const std::string nonce = NextNonce();
  std::string sealed(1, kVersion);
  sealed += nonce;
  const size_t body = sealed.size();
  sealed.resize(body + plain.size() + kTagBytes);

  const CipherContext cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  Must(EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr,
                          Unsigned(key_), Unsigned(nonce)) == 1);
  Must(EVP_EncryptUpdate(cipher.get(), nullptr, &length, Unsigned(context),
                         static_cast<int>(context.size())) == 1);
  Must(EVP_EncryptUpdate(cipher.get(), Unsigned(&sealed[body]), &length,
                         Unsigned(plain),
                         static_cast<int>(plain.size())) == 1);
  unsigned char rest[kTagBytes];
  Must(EVP_EncryptFinal_ex(cipher.get(), rest, &length) == 1);
  Must(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes,
                           &sealed[body + plain.size()]) == 1);
  return sealed;
}

absl::StatusOr<std::string> SealedBox::Open(absl::string_view sealed,
                                            absl::string_view context) const {
  constexpr size_t kBody = 1 + kNonceBytes;
  if (sealed.size() < kBody + kTagBytes || sealed[0] != kVersion) {
    return absl::DataLossError("not a sealed value");
  }
  const absl::string_view nonce = sealed.substr(1, kNonceBytes);
  const absl::string_view body =
      sealed.substr(kBody, sealed.size() - kBody - kTagBytes);
  std::string tag(sealed.substr(sealed.size() - kTagBytes));
  // One more, so that its address is valid when it is empty.
  std::string plain(body.size() + 1, '\0');

  const CipherContext cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  int length = 0;
  Must(EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr,
                          Unsigned(key_), Unsigned(nonce)) == 1);
  Must(EVP_DecryptUpdate(cipher.get(), nullptr, &length, Unsigned(context),
                         static_cast<int>(context.size())) == 1);
  Must(EVP_DecryptUpdate(cipher.get(), Unsigned(plain.data()), &length,
                         Unsigned(body), static_cast<int>(body.size())) == 1);
  Must(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes,
                           tag.data()) == 1);
  unsigned char rest[kTagBytes];
  if (EVP_DecryptFinal_ex(cipher.get(), rest, &length) != 1) {
    OPENSSL_cleanse(plain.data(), plain.size());
    return absl::DataLossError(
        "a sealed value was changed, or sealed with another key file");
  }
  plain.resize(body.size());
  return plain;
}

}  // namespace flotilla
