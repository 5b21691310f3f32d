// The host of calls made by the program itself: its own memory, touched without ever faulting, and its own descriptors.
#pragma once

#include "client/channel.h"
#include "client/host.h"

namespace causeway::shim {

const client::Host& own_process();

// The first bytes at `argument`, an ioctl's: sent along with the call. Arguments lie on the calling thread's stack
// mostly; that part of the stack is mapped for sure, so it is read and later written directly. Others are copied into
// `buffer` by the kernel of the host, which fails where a plain access would fault.
client::Window window_at(uint64_t argument, char (&buffer)[wire::kWindow]);

}  // namespace causeway::shim
