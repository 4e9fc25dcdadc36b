#ifndef BECKON_CNGHTTP2_SHIM_H
#define BECKON_CNGHTTP2_SHIM_H

#include <nghttp2/nghttp2.h>

#if NGHTTP2_VERSION_NUM < 0x013400
#error "Beckon needs nghttp2 1.52 or later: apt-get install libnghttp2-dev"
#endif

#endif
