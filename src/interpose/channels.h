// File descriptors between the threads of this process: eventfds, pipes and stream socket pairs, from where they are made, through
// dup and close. Everything else is none of ours, which one load tells.
//
//   channels::made_pipe(fds[0], fds[1], CW_SITE);
//   ObjectId incoming = channels::incoming(fd);      // what a read of it waits for; kNone: not one of ours
//   ObjectId outgoing = channels::outgoing(fd);      // what a write to it is the event of
//   ObjectId room = channels::room(fd);              // what a write to it waits for when it is full
//
// A channel's class is the place where it was made. Lock-free throughout: close() is called by signal handlers.
#pragma once

#include "dept/tracker.h"

namespace causeway::interpose::channels {

// Those with higher numbers are not followed.
inline constexpr int kDescriptors = 1 << 16;

void made_eventfd(int fd, dept::Site site);
void made_pipe(int reader, int writer, dept::Site site);
void made_pair(int first, int second, dept::Site site);
void duplicated(int from, int to);
// Before the descriptor is given back: it may be another's at once.
void closing(int fd);

// Which end of which channel: what all duplicates of a descriptor have in common.
enum class Part : uint32_t { kNone };
Part part_of(int fd);
// No other descriptor is of the same part.
bool is_last(int fd);

bool is_known(int fd);
dept::ObjectId incoming(int fd);
dept::ObjectId incoming(Part part);
dept::ObjectId outgoing(int fd);
dept::ObjectId room(int fd);
// What a read from it makes: room for who writes at the other end.
dept::ObjectId made_room(int fd);

// Whether a call on it would block, now and in general.
enum class Readiness : uint8_t { kNeverBlocks, kReady, kWouldBlock };
Readiness to_read(int fd);
// The same for who waits for it without reading: poll() of one that never blocks does. Any descriptor.
bool is_readable(int fd);
// One of more than there is room for waits for room, even if it need not at first.
Readiness to_write(int fd, size_t size);

}  // namespace causeway::interpose::channels
