import { describeSnapshots } from "./snapshot-suite.js";

describeSnapshots("overlay", "root", true);
