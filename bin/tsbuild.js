#!/usr/bin/env node
const path = require("node:path");
const { startCommand } = require("./start.cjs");

startCommand(path.join(__dirname, "../dist/cli/main.cjs"));
