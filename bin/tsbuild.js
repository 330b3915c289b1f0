#!/usr/bin/env node
const path = require("node:path");
const { start } = require("./start.cjs");

start(path.join(__dirname, "../dist/cli/main.cjs"));
