#ifndef BECKON_CLIBPQ_SHIM_H
#define BECKON_CLIBPQ_SHIM_H

#include <libpq-fe.h>

#ifndef LIBPQ_HAS_PIPELINING
#error "Beckon needs libpq 14 or later: apt-get install libpq-dev"
#endif

/* Swift does not import macros that are characters. */
static const int BECKON_DIAG_SEVERITY = PG_DIAG_SEVERITY_NONLOCALIZED;
static const int BECKON_DIAG_SQLSTATE = PG_DIAG_SQLSTATE;
static const int BECKON_DIAG_MESSAGE_PRIMARY = PG_DIAG_MESSAGE_PRIMARY;
static const int BECKON_DIAG_CONSTRAINT_NAME = PG_DIAG_CONSTRAINT_NAME;

#endif
