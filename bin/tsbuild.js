#!/usr/bin/env node
const { join } = require("node:path");
const { start } = require("./start.cjs");

start(join(__dirname, "../dist/cli/main.cjs"));
