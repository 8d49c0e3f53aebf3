// SPDX-License-Identifier: Apache-2.0
//
// Addresses that no Git server has: there are services that give a machine its
// credentials, and anybody who may name a repository could ask them. The same
// ones as manager/charts/fetcher refuses.

#ifndef FLOTILLA_MANAGER_GITSYNC_REFUSED_ADDRESS_H_
#define FLOTILLA_MANAGER_GITSYNC_REFUSED_ADDRESS_H_

#include <sys/socket.h>

namespace flotilla::manager {

// Link-local and multicast ones, and those that clouds use for this; also when
// written as IPv6. False for anything that is not IPv4 or IPv6. REQUIRES: as
// much is there as the family says.
bool IsRefusedAddress(const sockaddr& address);

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_GITSYNC_REFUSED_ADDRESS_H_
