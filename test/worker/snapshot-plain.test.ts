import { describeSnapshots } from "./snapshot-suite.js";

describeSnapshots("plain", "root");
