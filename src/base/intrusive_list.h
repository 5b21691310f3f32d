// A doubly linked list whose links live in the elements: no allocation, O(1) removal from the middle.
//
//   struct Session : ListNode<> { ... };
//   IntrusiveList<Session> sessions;
//   sessions.push_back(session);     // the list does not own what it holds
//   session.unlink();
//
// An element of several lists derives from ListNode<TagA>, ListNode<TagB>. Not thread-safe: the
// owner's lock covers it. Destroying a linked element, or a list that is not empty, is a bug (checked in debug builds).
#pragma once

#include <cassert>
#include <cstddef>
#include <iterator>

namespace causeway {

template <typename Tag = void>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { assert(!is_linked()); }

  bool is_linked() const { return next_ != this; }
  void unlink() {
    prev_->next_ = next_;
    next_->prev_ = prev_;
    next_ = prev_ = this;
  }

 private:
  template <typename, typename>
  friend class IntrusiveList;
  void insert_before(ListNode& position) {
    assert(!is_linked());
    prev_ = position.prev_;
    next_ = &position;
    prev_->next_ = this;
    position.prev_ = this;
  }
  ListNode* next_ = this;
  ListNode* prev_ = this;
};

template <typename T, typename Tag = void>
class IntrusiveList {
  using Node = ListNode<Tag>;

 public:
  class iterator {
   public:
    using iterator_category = std::bidirectional_iterator_tag;
    using value_type = T;
    using difference_type = ptrdiff_t;
    using pointer = T*;
    using reference = T&;
    explicit iterator(Node* node) : node_(node) {}
    T& operator*() const { return static_cast<T&>(*node_); }
    T* operator->() const { return &**this; }
    iterator& operator++() { return node_ = next(node_), *this; }
    iterator operator++(int) { auto old = *this; return ++*this, old; }
    iterator& operator--() { return node_ = prev(node_), *this; }
    bool operator==(const iterator&) const = default;

   private:
    Node* node_;
  };

  bool empty() const { return !head_.is_linked(); }
  T& front() { return static_cast<T&>(*head_.next_); }
  T& back() { return static_cast<T&>(*head_.prev_); }
  void push_front(T& element) { static_cast<Node&>(element).insert_before(*head_.next_); }
  void push_back(T& element) { static_cast<Node&>(element).insert_before(head_); }
  // The first element, unlinked; null when empty.
  T* pop_front() {
    if (empty()) return nullptr;
    T& element = front();
    static_cast<Node&>(element).unlink();
    return &element;
  }
  iterator begin() { return iterator(head_.next_); }
  iterator end() { return iterator(&head_); }

 private:
  static Node* next(Node* node) { return node->next_; }
  static Node* prev(Node* node) { return node->prev_; }
  Node head_;
};

}  // namespace causeway
