/* SPDX-License-Identifier: MIT */
#pragma once
#define POP3FS_VERSION "0.1.0"
