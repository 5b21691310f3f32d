#include "luo/gate.h"

namespace causeway::luo {

bool Gate::enter() {
  sync::MutexLock lock(mutex_);
  while (state_ == State::kShutting || state_ == State::kShut) changed_.wait(mutex_);
  if (state_ == State::kRemoved) return false;
  ++inside_;
  return true;
}

void Gate::leave() {
  sync::MutexLock lock(mutex_);
  if (--inside_ == 0 && state_ != State::kOpen) changed_.notify_all();
}

bool Gate::shut() {
  sync::MutexLock lock(mutex_);
  while (state_ == State::kShutting || state_ == State::kShut) changed_.wait(mutex_);
  if (state_ == State::kRemoved) return false;
  state_ = State::kShutting;  // keeps newcomers out, so that they cannot starve the update
  while (inside_ > 0) changed_.wait(mutex_);
  if (state_ == State::kRemoved) return false;
  state_ = State::kShut;
  return true;
}

void Gate::open() {
  sync::MutexLock lock(mutex_);
  if (state_ == State::kShut) state_ = State::kOpen;
  changed_.notify_all();
}

void Gate::remove() {
  sync::MutexLock lock(mutex_);
  state_ = State::kRemoved;
  changed_.notify_all();
  while (inside_ > 0) changed_.wait(mutex_);
}

}  // namespace causeway::luo
