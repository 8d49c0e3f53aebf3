// SPDX-License-Identifier: Apache-2.0

#include "manager/gitsync/refused_address.h"

#include <netdb.h>
#include <sys/socket.h>

#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

bool Refused(const char* text) {
  addrinfo hints = {};
  hints.ai_flags = AI_NUMERICHOST;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  EXPECT_EQ(getaddrinfo(text, nullptr, &hints, &found), 0) << text;
  const bool refused = IsRefusedAddress(*found->ai_addr);
  freeaddrinfo(found);
  return refused;
}

TEST(RefusedAddress, MachinesGetTheirCredentialsThere) {
  for (const char* address :
       {"169.254.169.254", "169.254.0.1", "2852039166", "100.100.100.200",
        "224.0.0.1", "239.255.255.255", "fe80::1", "febf::1", "ff02::1",
        "fd00:ec2::254", "::ffff:169.254.169.254", "::ffff:100.100.100.200",
        "64:ff9b::169.254.169.254", "64:ff9b::100.100.100.200"}) {
    EXPECT_TRUE(Refused(address)) << address;
  }
}

TEST(RefusedAddress, GitServersMayBeAnywhereElse) {
  for (const char* address :
       {"127.0.0.1", "10.0.0.1", "192.168.1.1", "100.100.100.201",
        "169.253.1.1", "223.255.255.255", "8.8.8.8", "::1", "fd00:ec2::253",
        "fd12::1", "fec0::1", "2001:db8::1", "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b:1::169.254.169.254"}) {
    EXPECT_FALSE(Refused(address)) << address;
  }
}

TEST(RefusedAddress, OtherFamiliesAreNotJudged) {
  sockaddr address = {};
  address.sa_family = AF_UNIX;
  EXPECT_FALSE(IsRefusedAddress(address));
}

}  // namespace
}  // namespace flotilla::manager
