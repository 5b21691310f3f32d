// Names for clang's thread-safety attributes: the compiler checks that guarded data is reached with
// its lock held (clang++ -Wthread-safety). Other compilers see nothing.
//
//   class Zone {
//    public:
//     Page* take() CW_EXCLUDES(lock_);
//    private:
//     Page* take_locked() CW_REQUIRES(lock_);
//     SpinLock lock_{"mm.zone"};
//     uint64_t free_pages_ CW_GUARDED_BY(lock_) = 0;
//   };
#pragma once

#if defined(__clang__)
#define CW_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define CW_THREAD_ATTRIBUTE(x)
#endif

// On a lock class, and on a guard that holds a lock for its own lifetime.
#define CW_CAPABILITY(name) CW_THREAD_ATTRIBUTE(capability(name))
#define CW_SCOPED_CAPABILITY CW_THREAD_ATTRIBUTE(scoped_lockable)

// On data: the variable, or what the pointer points to.
#define CW_GUARDED_BY(lock) CW_THREAD_ATTRIBUTE(guarded_by(lock))
#define CW_PT_GUARDED_BY(lock) CW_THREAD_ATTRIBUTE(pt_guarded_by(lock))

// On a function: which locks its caller holds, or must not hold.
#define CW_REQUIRES(...) CW_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define CW_REQUIRES_SHARED(...) CW_THREAD_ATTRIBUTE(requires_shared_capability(__VA_ARGS__))
#define CW_EXCLUDES(...) CW_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))

// On a function: which locks it takes or gives back. RELEASE_GENERIC is for a guard's destructor.
#define CW_ACQUIRE(...) CW_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define CW_ACQUIRE_SHARED(...) CW_THREAD_ATTRIBUTE(acquire_shared_capability(__VA_ARGS__))
#define CW_TRY_ACQUIRE(...) CW_THREAD_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define CW_TRY_ACQUIRE_SHARED(...) CW_THREAD_ATTRIBUTE(try_acquire_shared_capability(__VA_ARGS__))
#define CW_RELEASE(...) CW_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define CW_RELEASE_SHARED(...) CW_THREAD_ATTRIBUTE(release_shared_capability(__VA_ARGS__))
#define CW_RELEASE_GENERIC(...) CW_THREAD_ATTRIBUTE(release_generic_capability(__VA_ARGS__))

// On a function that checks at run time that the lock is held, and on an accessor of a lock.
#define CW_ASSERT_CAPABILITY(lock) CW_THREAD_ATTRIBUTE(assert_capability(lock))
#define CW_ASSERT_SHARED_CAPABILITY(lock) CW_THREAD_ATTRIBUTE(assert_shared_capability(lock))
#define CW_RETURN_CAPABILITY(lock) CW_THREAD_ATTRIBUTE(lock_returned(lock))

// On a lock member: the order between two locks of one object.
#define CW_ACQUIRED_BEFORE(...) CW_THREAD_ATTRIBUTE(acquired_before(__VA_ARGS__))
#define CW_ACQUIRED_AFTER(...) CW_THREAD_ATTRIBUTE(acquired_after(__VA_ARGS__))

// On a function the analysis cannot follow; say why beside it.
#define CW_NO_THREAD_SAFETY_ANALYSIS CW_THREAD_ATTRIBUTE(no_thread_safety_analysis)
