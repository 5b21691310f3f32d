// Sets of descriptors that epoll waits for, from epoll_create() through epoll_ctl(), dup and close: as much as it takes to know whether
// one of them waits for a single channel of this process (interpose/channels.h) and nothing else.
//
//   sets::duplicated(from, to); sets::closing(fd);       // whatever descriptor it is, before channels hears of it
//   ObjectId data = sets::only_one(fd);                  // what epoll_wait() waits for; kNone: several, or others, or nothing is known
//
// A set with more than kMembers at a time is that of several from then on, and so is one with a stranger's descriptor that is duplicated:
// its close tells nothing. Lock-free, since close() is called by signal handlers.
#pragma once

#include "dept/ids.h"

namespace causeway::interpose::sets {

// A set, or in one.
bool is_followed(int fd);
void duplicated(int from, int to);
void closing(int fd);
dept::ObjectId only_one(int set);

}  // namespace causeway::interpose::sets
