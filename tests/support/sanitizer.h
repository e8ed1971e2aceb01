// Is this a build with the address sanitizer? CAIRN_ASAN is defined then, whichever compiler.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CAIRN_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CAIRN_ASAN 1
#endif
