// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/refused_address.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

namespace flotilla::manager {
namespace {

bool IsRefusedV4(uint32_t address) {
  return address >> 16 == 0xa9fe ||  // 169.254.0.0/16
         address == 0x646464c8 ||    // 100.100.100.200
         address >> 28 == 0xe;       // 224.0.0.0/4
}

// fd00:ec2::254
constexpr uint8_t kMachineServiceV6[16] = {
    0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54};
// NAT64: an IPv4 address follows.
constexpr uint8_t kTranslated[12] = {0, 0x64, 0xff, 0x9b};

}  // namespace

bool IsRefusedAddress(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return IsRefusedV4(ntohl(v4.sin_addr.s_addr));
  }
  if (address.sa_family != AF_INET6) return false;
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  const uint8_t* bytes = v6.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) ||
      std::equal(std::begin(kTranslated), std::end(kTranslated), bytes)) {
    uint32_t v4 = 0;
    std::memcpy(&v4, bytes + 12, sizeof(v4));
    return IsRefusedV4(ntohl(v4));
  }
  return IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) ||
         IN6_IS_ADDR_MULTICAST(&v6.sin6_addr) ||
         std::equal(std::begin(kMachineServiceV6), std::end(kMachineServiceV6),
                    bytes);
}

}  // namespace flotilla::manager
