# Writes version.h, and only when it changes, so that a build after a commit recompiles one small file.
execute_process(COMMAND git rev-parse HEAD WORKING_DIRECTORY ${SOURCE_DIR}
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#pragma once
#define HEADSCOPE_VERSION \"${VERSION}\"
#define HEADSCOPE_GIT_COMMIT \"${commit}\"
")
