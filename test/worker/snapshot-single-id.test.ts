import { describeSnapshots } from "./snapshot-suite.js";

describeSnapshots("overlay", "single-id");
describeSnapshots("plain", "single-id");
